"""What a look at labelled imagery tells before anything is trained on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from geoseg.errors import RasterError
from geoseg.sources.surveys.band_values import BandSurvey

_LEVELS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class ClassCount:
    """A class of the legend and where it occurs.

    Attributes:
        id: In class rasters.
        name: From the legend.
        pixels: How many have it.
        share: Part of the labelled pixels, 0..1.
        sheets: How many sheets hold any of it.
    """

    id: int
    name: str
    pixels: int
    share: float
    sheets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCheck:
    """Labelled imagery, looked at; ``str`` of it is a table.

    Attributes:
        name: Of the source.
        license: Of images and labels; empty where nothing is known.
        sheets: How many images.
        readable: How many of them can be used.
        sizes: (height, width) of the smallest and of the largest image.
        crs: Names of the reference systems; empty where no image has a place.
        gsd: Ground sample distance in metres, the finest and the coarsest; None where unknown.
        dtype: NumPy name of the samples' type.
        bands: Names of the bands with their values.
        classes: One a class of the legend.
        pixels: Of all usable images.
        labelled: Pixels with a class.
        ignored: Pixels with data and without label.
        absent: Pixels without data.
        notes: What the source says it matched, repaired and assumed.
        warnings: What was left out and what looks wrong, each with numbers and names; training goes on.
        errors: What cannot be trained on, each with numbers, names and remedy.
    """

    name: str
    license: str
    sheets: int
    readable: int
    sizes: tuple[tuple[int, int], tuple[int, int]]
    crs: tuple[str, ...]
    gsd: tuple[float, float] | None
    dtype: str
    bands: tuple[tuple[str, BandSurvey], ...]
    classes: tuple[ClassCount, ...]
    pixels: int
    labelled: int
    ignored: int
    absent: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    errors: tuple[str, ...]

    def raise_for_errors(self) -> None:
        """Refuse data that cannot be trained on.

        Raises:
            RasterError: There are errors: all of them in one line.
        """
        if self.errors:
            count = f"{len(self.errors)} problems: " if len(self.errors) > 1 else ""
            raise RasterError(f"{self.name} cannot be trained on: {count}{'; '.join(self.errors)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, texts and numbers, for JSON."""
        return asdict(self) | {"bands": [{"name": name, **asdict(band)} for name, band in self.bands]}

    def __str__(self) -> str:
        rows = [*self._source_rows(), *self._band_rows(), *self._class_rows()]
        for label, texts in (("note", self.notes), ("warning", self.warnings), ("error", self.errors)):
            rows += [(label, text) for text in texts]
        if not self.errors:
            rows.append(("result", "fit to train on" + (", but see the warnings" if self.warnings else "")))
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:<{width}}  {text}" for label, text in rows)

    def _source_rows(self) -> list[tuple[str, str]]:
        (low_rows, low_cols), (high_rows, high_cols) = self.sizes
        size = f"{low_rows} × {low_cols} px"
        if self.sizes[0] != self.sizes[1]:
            size += f" to {high_rows} × {high_cols} px"
        labels = (
            f"{_share(self.labelled, self.pixels)} of the pixels, {_share(self.ignored, self.pixels)} without label, "
            f"{_share(self.absent, self.pixels)} without data"
        )
        left_out = f", {self.sheets - self.readable} of them cannot be used" if self.readable < self.sheets else ""
        return [
            ("source", self.name),
            ("licence", self.license or "not stated"),
            ("images", f"{self.sheets}, {size}{left_out}; {self.pixels / 1e6:.2f} Mpx"),
            ("CRS", ", ".join(self.crs) or "none: the images have no place"),
            ("pixel", "size on the ground unknown" if self.gsd is None else f"{_span(*self.gsd)} m on the ground"),
            ("labels", labels),
        ]

    def _band_rows(self) -> list[tuple[str, str]]:
        head = (
            "bands",
            f"{self.dtype}; low, 1 %, mean ± deviation, 99 %, high, and how often from 1 % to 99 %",
        )
        return [head] + [("", _band_text(name, band)) for name, band in self.bands]

    def _class_rows(self) -> list[tuple[str, str]]:
        width = max(len(c.name) for c in self.classes)
        texts = [
            f"{c.id:>3} {c.name:<{width}}  {c.share:8.3%}  {c.pixels:>12} px in {c.sheets} images" for c in self.classes
        ]
        return [("classes" if i == 0 else "", text) for i, text in enumerate(texts)]


def _band_text(name: str, band: BandSurvey) -> str:
    if not band.count:
        return f"{name}: no value"
    most = max(band.histogram)
    bars = "".join(_LEVELS[-(-8 * count // most)] for count in band.histogram)
    return (
        f"{name}: {band.low:.5g}, {band.p01:.5g}, {band.mean:.5g} ± {band.std:.4g}, {band.p99:.5g}, {band.high:.5g} "
        f"|{bars}|"
    )


def _span(low: float, high: float) -> str:
    texts = dict.fromkeys((f"{low:.4g}", f"{high:.4g}"))
    return " to ".join(texts)


def _share(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.1%}"
