"""What xarray knows of a scene: its bands, their nodata, and where its pixels are. Nothing here reads a pixel."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rioxarray  # noqa: F401 - gives arrays their ``rio``
import xarray as xr
from affine import Affine
from pyproj.exceptions import CRSError as ProjError
from rasterio.errors import CRSError

from geoseg.arrays.scenes import ArrayScene
from geoseg.errors import ParameterError, RasterError
from geoseg.grids import Grid
from geoseg.rasters.validity import DTYPES, stored_nodata
from geoseg.wording import listed

BAND_DIMS = ("band", "bands", "channel", "variable")
"""Names of the dimension of bands."""

SPATIAL_DIMS = (("y", "x"), ("latitude", "longitude"), ("lat", "lon"))
"""Names of the dimensions of rows and columns: what rioxarray and odc-geo know."""

_NODATA_ATTRIBUTES = ("nodata", "_FillValue", "missing_value", "fill_value")


@dataclass(frozen=True, slots=True)
class Stack:
    """Bands of a scene, or of many at other times, and what is known of them.

    Attributes:
        array: Dimensions (…, band, y, x), the bands that the model gets.
        scene: The grid and the bands, without samples.
        spatial: Names of the dimensions of rows and columns.
    """

    array: xr.DataArray
    scene: ArrayScene
    spatial: tuple[str, str]

    @property
    def extra(self) -> tuple[Hashable, ...]:
        """Dimensions beside bands, rows and columns, such as time."""
        return self.array.dims[:-3]


def read_stack(
    source: xr.DataArray | xr.Dataset,
    wanted: Sequence[str],
    bands: Sequence[int | str] | None,
    nodata: float | None,
) -> Stack:
    """Arrange what is given as bands of rows of columns.

    Args:
        source: An array with or without a dimension of bands, or a dataset whose variables are bands.
        wanted: Names of the bands that the model expects.
        bands: Those that it is to get, by number from 1 or by name; by default all of an array, in their order, and of
            a dataset those that are named as the model's, or all.
        nodata: Value that stands for no data; by default what the attributes say.

    Raises:
        RasterError: Dimensions, types or values are none of a scene.
        ParameterError: A band is not there.
    """
    if isinstance(source, xr.Dataset):
        _refuse_unknown_sizes(source, "the dataset")
        members, names, spatial = _of_dataset(source)
        label = "the dataset"
    elif isinstance(source, xr.DataArray):
        _refuse_unknown_sizes(source, "the array")
        members, names, spatial = _of_array(source)
        # xarray calls an array like its graph where nobody named it. Data that are not chunked would be read here.
        graph = None if source.chunks is None else source.data.name
        own = source.name not in (None, graph)
        label = f"array {source.name!r}" if own else "the array"
    else:
        raise RasterError(f"a {type(source).__name__} is no scene; give an xarray.DataArray or an xarray.Dataset")
    chosen = _chosen(names, bands, wanted if isinstance(source, xr.Dataset) else None, label)
    picked = [members[k] for k in chosen]
    dtype = _common_dtype(picked, label)
    stored = [_nodata(member, nodata, label) for member in picked]
    samples = [stored_nodata(value, member.dtype) for value, member in zip(stored, picked, strict=True)]
    if empty := [dim for dim, size in source.sizes.items() if not size and dim not in spatial]:
        raise RasterError(f"dimension {str(empty[0])!r} of {label} is empty: no scene")
    scene = ArrayScene(
        name=label,
        grid=_grid(picked[0], spatial, label),
        dtype=dtype,
        bands=tuple(k + 1 for k in chosen),
        band_names=tuple(names[k] for k in chosen),
        nodata=tuple(stored),
        missing=tuple(None if sample is None else np.dtype(dtype).type(sample) for sample in samples),
    )
    return Stack(_joined(picked, source, chosen, spatial), scene, spatial)


def _of_dataset(source: xr.Dataset) -> tuple[list[xr.DataArray], list[str], tuple[str, str]]:
    """Variables with rows and columns, their names, and the names of those dimensions."""
    spatial = _spatial(source.dims, "the dataset")
    names = [name for name, variable in source.data_vars.items() if set(spatial) <= set(variable.dims)]
    if not names:
        raise RasterError(f"the dataset has no variable with dimensions {spatial[0]} and {spatial[1]}: no band")
    for name in names:
        if found := [dim for dim in source[name].dims if dim in BAND_DIMS]:
            raise RasterError(
                f"variable {name!r} has a dimension {found[0]!r} of its own; give it alone: dataset[{name!r}]"
            )
    return [source[name] for name in names], [str(name) for name in names], spatial


def _of_array(source: xr.DataArray) -> tuple[list[xr.DataArray], list[str], tuple[str, str]]:
    """The bands of an array, their names, and the names of the dimensions of rows and columns."""
    spatial = _spatial(source.dims, "the array")
    found = [dim for dim in BAND_DIMS if dim in source.dims]
    if not found:
        return [source], [_long_names(source, 1)[0] or str("band 1" if source.name is None else source.name)], spatial
    dim = found[0]
    count = source.sizes[dim]
    if not count:
        raise RasterError(f"dimension {dim!r} of the array is empty: no band")
    names = _long_names(source, count)
    if dim in source.coords and source.coords[dim].dtype.kind in "UOT":
        names = [str(name) for name in source.coords[dim].values]
    return (
        [source.isel({dim: k}, drop=True) for k in range(count)],
        [name or f"band {k}" for k, name in enumerate(names, start=1)],
        spatial,
    )


def _spatial(dims: Iterable[Hashable], label: str) -> tuple[str, str]:
    """The dimensions of rows and columns."""
    present = list(dims)
    for pair in SPATIAL_DIMS:
        if set(pair) <= set(present):
            return pair
    raise RasterError(
        f"{label} has dimensions ({', '.join(map(str, present))}) but none called y and x; rename them: "
        ".rename({'rows': 'y', 'columns': 'x'})"
    )


def _long_names(source: xr.DataArray, count: int) -> list[str]:
    """Descriptions of bands as rioxarray keeps them; empty where there are none."""
    found = source.attrs.get("long_name", ())
    names = [found] if isinstance(found, str) else [str(name) for name in found]
    return names if len(names) == count else [""] * count


def _chosen(
    names: Sequence[str], bands: Sequence[int | str] | None, wanted: Sequence[str] | None, label: str
) -> list[int]:
    """Positions of the bands that the model gets."""
    folded = [name.casefold() for name in names]
    if bands is None:
        ours = [name.casefold() for name in wanted or ()]
        if ours and all(folded.count(name) == 1 for name in ours):
            return [folded.index(name) for name in ours]
        return list(range(len(names)))
    found = []
    for band in bands:
        if isinstance(band, str) and folded.count(band.casefold()) == 1:
            found.append(folded.index(band.casefold()))
        elif not isinstance(band, str) and 1 <= band <= len(names):
            found.append(int(band) - 1)
        else:
            numbered = (f"{k} ({name})" for k, name in enumerate(names, start=1))
            raise ParameterError(f"band {band!r} was asked of {label}, which has {listed(numbered, 12)}")
    if not found:
        raise ParameterError("no band was asked for; name some, e.g. bands=[3, 2, 1], or leave bands out")
    return found


def _common_dtype(members: Sequence[xr.DataArray], label: str) -> str:
    """The type that holds the samples of all bands."""
    dtypes = {member.dtype for member in members}
    common = np.result_type(*dtypes).name
    for name in (*sorted(dtype.name for dtype in dtypes), common):
        if name not in DTYPES:
            raise RasterError(
                f"{label} holds {name} samples; convert them, e.g. .astype('float32'), to one of {', '.join(DTYPES)}"
            )
    return common


def _nodata(member: xr.DataArray, given: float | None, label: str) -> float | None:
    """The value that stands for no data beside NaN and infinity."""
    if given is not None:
        return _number(given, "nodata", "give a number")
    for name in _NODATA_ATTRIBUTES:
        if (value := member.attrs.get(name)) is not None:
            return _number(
                value, f"attribute {name} of {label}", f"give nodata=..., or take it out: del .attrs[{name!r}]"
            )
    # Where an array was decoded to floating point, what its file held is NaN by now.
    value = member.encoding.get("_FillValue") if member.dtype.kind in "iu" else None
    if value is None:
        return None
    number = _number(value, f"encoding _FillValue of {label}", "give nodata=...")
    return None if math.isnan(number) else number


def _number(value: Any, what: str, remedy: str) -> float:
    """A value that comes from elsewhere as a number.

    Raises:
        ParameterError: It is none.
    """
    try:
        if not np.ndim(value):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise ParameterError(f"{what} is {value!r}, which is no number; {remedy}")


def _refuse_unknown_sizes(source: xr.DataArray | xr.Dataset, label: str) -> None:
    """A scene has as many rows and columns as it has; some operations of Dask leave that open.

    Raises:
        RasterError: Dask does not know the sizes.
    """
    if unknown := [str(dim) for dim, size in source.sizes.items() if math.isnan(size)]:
        raise RasterError(
            f"{label} has chunks of unknown size along {listed(unknown)}; have them computed first, with "
            "array.data.compute_chunk_sizes()"
        )


def _grid(member: xr.DataArray, spatial: tuple[str, str], label: str) -> Grid:
    """Where the pixels are, as far as coordinates and attributes tell."""
    height, width = (member.sizes[dim] for dim in spatial)
    if not height or not width:
        raise RasterError(f"{label} has no pixel: {height}×{width}")
    placed = member.copy(deep=False).rio.set_spatial_dims(x_dim=spatial[1], y_dim=spatial[0], inplace=True)
    try:
        crs = placed.rio.crs
    except (CRSError, ProjError) as error:
        reason = str(error).splitlines()[0]
        raise RasterError(f"{label} has a CRS that cannot be read ({reason}); set it with .rio.write_crs()") from error
    try:
        return Grid(crs.to_wkt(version="WKT2_2019") if crs else None, _transform(placed), height, width)
    except ParameterError as error:
        raise RasterError(f"{label}: {error}; check its coordinates {spatial[0]} and {spatial[1]}") from error


def _transform(placed: xr.DataArray) -> Affine:
    """Pixels to world: what is written down where the coordinates agree, for those are rounded."""
    written: Affine = placed.rio.transform()
    if written.b or written.d:
        return written
    found: Affine = placed.rio.transform(recalc=True)
    agree = math.isclose(written.a, found.a, rel_tol=1e-6) and math.isclose(written.e, found.e, rel_tol=1e-6)
    return written if agree else found


def _joined(
    picked: Sequence[xr.DataArray], source: xr.DataArray | xr.Dataset, chosen: Sequence[int], spatial: tuple[str, str]
) -> xr.DataArray:
    """(…, band, y, x) of the bands that were picked."""
    found = [dim for dim in BAND_DIMS if dim in source.dims]
    if isinstance(source, xr.DataArray) and found:
        whole = list(chosen) == list(range(source.sizes[found[0]]))
        array = _bare(source if whole else source.isel({found[0]: list(chosen)}))
        array = array if found[0] == "band" else array.rename({found[0]: "band"})
    else:
        array = xr.concat([_bare(member) for member in picked], dim="band", combine_attrs="drop")
    extra = [dim for dim in array.dims if dim not in ("band", *spatial)]
    return array.transpose(*extra, "band", *spatial)


def _bare(array: xr.DataArray) -> xr.DataArray:
    """Without coordinates: those of the map are the source's."""
    return array.drop_vars(list(array.coords))
