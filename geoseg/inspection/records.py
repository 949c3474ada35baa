"""What info() tells: frozen records that print as aligned text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from geoseg.config import ModelSpec

Row = tuple[str, str]
"""A label and what stands beside it."""

_GIB = 2**30
_MIB = 2**20
_KIB = 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterInfo:
    """What every raster has.

    Attributes:
        kind: What it is, in words.
        path: As it was named.
        size_bytes: On disk; None where the file is remote.
        driver: GDAL's name of the format.
        height: Rows.
        width: Columns.
        crs: Name of the CRS with its code; None where there is none.
        transform: The six coefficients of the affine transform, row by row; identity where ground control points
            place the raster.
        gcps: Number of ground control points that place it.
        gsd: Side of a pixel on the ground in metres; None without a CRS.
        dtype: Stored type, a NumPy name.
        nodata: The tag of each band; None where a band has none.
        block_shape: Rows and columns of a storage block.
        compression: Name, or None.
        overviews: Reduction factors.
        tags: What geoseg noted in the file.
    """

    kind: str
    path: str
    size_bytes: int | None
    driver: str
    height: int
    width: int
    crs: str | None
    transform: tuple[float, ...]
    gcps: int
    gsd: float | None
    dtype: str
    nodata: tuple[float | None, ...]
    block_shape: tuple[int, int]
    compression: str | None
    overviews: tuple[int, ...]
    tags: Mapping[str, str]

    def _grid_rows(self) -> Iterator[Row]:
        yield "file", f"{self.path}, {self.kind}"
        stored = [self.driver, readable_size(self.size_bytes), self.compression or "not compressed"]
        yield "stored", ", ".join(part for part in stored if part)
        yield "blocks", f"{self.block_shape[0]} × {self.block_shape[1]} px"
        yield "overviews", ", ".join(f"1:{factor}" for factor in self.overviews) or "none"
        yield "size", f"{self.height} rows × {self.width} columns, {self.height * self.width / 1e6:.2f} Mpx"
        yield "CRS", self.crs or "none"
        yield "grid", self._placement()
        yield "pixel", "size on the ground unknown" if self.gsd is None else f"{self.gsd:.4g} m on the ground"
        values = dict.fromkeys(value for value in self.nodata if value is not None)
        yield "type", f"{self.dtype}, {'nodata ' if values else 'no nodata tag'}{', '.join(f'{v:g}' for v in values)}"

    def _placement(self) -> str:
        if self.gcps:
            return f"placed by {self.gcps} ground control points"
        dx, shear_x, x, shear_y, dy, y = self.transform
        turned = f", rotated or sheared by {shear_x:.6g}, {shear_y:.6g}" if shear_x or shear_y else ""
        return f"upper left at {x:.10g}, {y:.10g}; steps of {dx:.6g}, {dy:.6g}{turned}"

    def _tag_rows(self) -> Iterator[Row]:
        for name, value in self.tags.items():
            yield name.removeprefix("GEOSEG_").lower().replace("_", " "), value


@dataclass(frozen=True, slots=True)
class BandInfo:
    """A band of a scene.

    Attributes:
        number: From 1.
        name: Description, colour or number.
        low: 1st percentile of a sample of its values; None without a value.
        high: 99th percentile.
    """

    number: int
    name: str
    low: float | None
    high: float | None

    def __str__(self) -> str:
        values = "no data" if self.low is None or self.high is None else f"{self.low:.6g} .. {self.high:.6g}"
        return f"{self.number} {self.name}: {values}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneInfo(RasterInfo):
    """A raster to predict from.

    Attributes:
        bands: Those that predict would read.
        validity: What marks pixels without data.
        valid_share: Part of the pixels of a sample that hold data, 0..1.
        tiles: Network inputs with the default tile size and overlap.
    """

    bands: tuple[BandInfo, ...]
    validity: tuple[str, ...]
    valid_share: float
    tiles: int

    def __str__(self) -> str:
        rows = [
            *self._grid_rows(),
            *(("bands" if i == 0 else "", str(band)) for i, band in enumerate(self.bands)),
            ("no data by", ", ".join(self.validity) or "nothing: all pixels are data"),
            ("data", f"about {self.valid_share:.1%} of the pixels"),
            ("tiles", f"{self.tiles} with the default model"),
        ]
        return aligned([*rows, *self._tag_rows()])


@dataclass(frozen=True, slots=True)
class ClassShare:
    """A class and how much of the map it covers.

    Attributes:
        id: Value in the raster.
        name: From the legend.
        color: ``#rrggbb``.
        pixels: How many have it.
        share: Part of the pixels with data, 0..1.
    """

    id: int
    name: str
    color: str
    pixels: int
    share: float

    def __str__(self) -> str:
        return f"{self.id} {self.name} ({self.color}): {self.share:.2%}, {self.pixels} px"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRasterInfo(RasterInfo):
    """A land-cover map.

    Attributes:
        classes: The legend, with what each class covers.
        nodata_pixels: Pixels without a class.
    """

    classes: tuple[ClassShare, ...]
    nodata_pixels: int

    def __str__(self) -> str:
        rows = [
            *self._grid_rows(),
            *(("classes" if i == 0 else "", str(share)) for i, share in enumerate(self.classes)),
            ("no data", f"{self.nodata_pixels} px"),
        ]
        return aligned([*rows, *self._tag_rows()])


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer of a vector file.

    Attributes:
        name: Table name.
        geometry: Geometry type; None for a table without.
        features: How many.
        crs: Name of the CRS with its code; None where there is none.
        fields: Type of each attribute.
        style: Name of the style that opens with it; None where the file brings none.
    """

    name: str
    geometry: str | None
    features: int
    crs: str | None
    fields: Mapping[str, str]
    style: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorInfo:
    """A GeoPackage or another vector file."""

    kind: str
    path: str
    size_bytes: int | None
    layers: tuple[LayerInfo, ...]

    def __str__(self) -> str:
        rows = [("file", f"{self.path}, {self.kind}, {readable_size(self.size_bytes)}")]
        for layer in self.layers:
            rows += [
                ("layer", f"{layer.name}, {layer.features} × {layer.geometry or 'no geometry'}"),
                ("CRS", layer.crs or "none"),
                ("fields", ", ".join(f"{name} ({kind})" for name, kind in layer.fields.items()) or "none"),
                ("style", layer.style or "none"),
            ]
        return aligned(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model file.

    Attributes:
        kind: What it is, in words.
        path: As it was named.
        size_bytes: On disk.
        spec: What the file says of itself; with the stride multiple, the context and the effective radius.
        receptive_radius: Pixels beyond which nothing can change a label, by the shape of the network; None where not
            known.
        default_tile_size: Side of the tiles in pixels where none is given to ``predict``.
        default_overlap: Pixels that tiles of that size share where none are given.
    """

    kind: str
    path: str
    size_bytes: int | None
    spec: ModelSpec
    receptive_radius: int | None
    default_tile_size: int
    default_overlap: int

    def __str__(self) -> str:
        spec = self.spec
        classes = [f"{c.id} {c.name} ({c.color})" for c in spec.classes]
        return aligned([
            ("file", f"{self.path}, {self.kind}, {readable_size(self.size_bytes)}"),
            ("name", spec.name),
            ("purpose", spec.purpose or "not stated"),
            ("network", f"{spec.architecture}{''.join(f', {k}={v}' for k, v in spec.options.items())}"),
            ("bands", ", ".join(spec.bands)),
            ("trained on", spec.training_data or "not stated"),
            ("values", f"{spec.dtype}, {spec.value_range[0]:g} .. {spec.value_range[1]:g}"),
            ("pixel", "size not stated" if spec.gsd is None else f"{spec.gsd:.4g} m on the ground"),
            *self._tile_rows(),
            *(("classes" if i == 0 else "", text) for i, text in enumerate(classes)),
            *(("metrics" if i == 0 else "", f"{k} {v:.4g}") for i, (k, v) in enumerate(spec.metrics.items())),
            ("licence", spec.license or "not stated"),
        ])  # fmt: skip

    def _tile_rows(self) -> Iterator[Row]:
        """What tiles must be, and how far the network looks."""
        spec, context = self.spec, self.spec.context
        yield "tile", f"{spec.tile_size} px, in steps of {spec.stride_multiple} px"
        if context.pixels:
            yield "context", f"{context.pixels} px around each tile, read beside it: the network does not pad"
        effective = "not stated" if spec.effective_radius is None else f"{spec.effective_radius} px"
        theoretical = "not known" if self.receptive_radius is None else f"{self.receptive_radius} px"
        yield "radius", f"effective {effective}, theoretical {theoretical}"
        yield "overlap", f"{self.default_overlap} px, of tiles of {self.default_tile_size} px where neither is given"


def aligned(rows: Iterable[Row]) -> str:
    """Labels in one column, what they say in the next."""
    listed = list(rows)
    width = max(len(label) for label, _ in listed)
    return "\n".join(f"{label:<{width}}  {text}" for label, text in listed)


def readable_size(size_bytes: int | None) -> str:
    """``3.2 MiB``; empty where the size is not known."""
    if size_bytes is None:
        return ""
    for unit, name in ((_GIB, "GiB"), (_MIB, "MiB"), (_KIB, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes} bytes"
