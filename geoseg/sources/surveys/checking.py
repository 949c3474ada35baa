"""Is labelled imagery fit to train on? Everything that is wrong with it is named before anything trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.config.training import TrainingConfig
from geoseg.errors import ParameterError
from geoseg.grids import Grid
from geoseg.sources.footprints import Footprints
from geoseg.sources.surveys.data_checks import ClassCount, DataCheck
from geoseg.sources.surveys.records import SheetSurvey, Survey
from geoseg.sources.values import Source, told_apart
from geoseg.tiling import Progress
from geoseg.wording import listed

__all__ = ["ClassCount", "DataCheck", "check", "check_data"]

_RARE = 0.001
_UNEQUAL = 0.01
# Dark and bright scenes of one camera differ less than this; images of 0..1 among images of 0..255 do not.
_OTHER_RANGE = 20.0
_MEASURED = 8


def check_data(
    config: TrainingConfig | str | Path | None = None, *, progress: Progress | None = None, **data: Any
) -> DataCheck:
    """Look at everything that a training would read, without training.

    Args:
        config: Settings, a YAML file with them, or the name of a recipe.
        progress: Told (pixels done, pixels in total).
        data: Settings of the section ``data`` that count instead of those of the file: ``images=``, ``labels=``, ….

    Raises:
        GeosegError: The settings are wrong, or no imagery can be opened. What is wrong with the imagery itself is in
            the result.
    """
    from geoseg.config.loading import load_config
    from geoseg.sources.opening import open_source
    from geoseg.sources.surveys.surveying import survey

    if isinstance(config, TrainingConfig):
        if data:
            raise ParameterError(f"settings are given twice: in config, and as {', '.join(data)}; put them into config")
        chosen = config
    else:
        chosen = load_config(config, {f"data.{name}": value for name, value in data.items()})
    source = open_source(chosen.data)
    return check(source, survey(source, progress=progress))


def check(source: Source, survey: Survey) -> DataCheck:
    """Judge what a survey has seen.

    Args:
        source: Labelled imagery.
        survey: Of all its sheets.
    """
    look = _Look(source, survey)
    notes, left_out = told_apart(source.notes)
    sizes = [(sheet.height, sheet.width) for sheet in source.sheets]
    labelled = max(1, int(survey.class_pixels.sum()))
    gsds = look.gsds
    return DataCheck(
        name=source.name,
        license=source.license,
        sheets=len(source.sheets),
        readable=len(survey.readable),
        sizes=(min(sizes, key=np.prod), max(sizes, key=np.prod)),
        crs=tuple(dict.fromkeys(_crs_name(grid) for _, grid in look.placed)),
        gsd=(min(gsds), max(gsds)) if gsds else None,
        dtype=source.dtype,
        bands=tuple(zip(source.band_names, survey.bands, strict=True)),
        classes=tuple(
            ClassCount(c.id, c.name, pixels, pixels / labelled, sum(bool(s.class_pixels[k]) for s in survey.sheets))
            for k, (c, pixels) in enumerate(zip(source.legend, survey.class_pixels.tolist(), strict=True))
        ),
        pixels=sum(s.pixels + s.absent for s in survey.sheets),
        labelled=int(survey.class_pixels.sum()),
        ignored=sum(s.ignored for s in survey.sheets),
        absent=sum(s.absent for s in survey.sheets),
        notes=notes,
        warnings=(*left_out, *look.warnings()),
        errors=tuple(look.errors()),
    )


class _Look:
    """What is wrong with a source.

    Attributes:
        usable: Name and survey of the sheets that can be read.
        placed: Name and grid of the sheets that have a place.
        gsds: Pixel sizes in metres of some of each kind of them.
    """

    def __init__(self, source: Source, survey: Survey) -> None:
        self._source, self._survey = source, survey
        self._every: list[tuple[str, SheetSurvey]] = [
            (sheet.name, found) for sheet, found in zip(source.sheets, survey.sheets, strict=True)
        ]
        self.usable = [(name, found) for name, found in self._every if found.defect is None]
        grids = [(sheet.name, sheet.grid) for sheet in source.sheets]
        self.placed = [(name, grid) for name, grid in grids if grid is not None and grid.is_georeferenced]
        self._alike = _alike(self.placed)
        some = [grid for group in self._alike for _, grid in group[:: 1 + len(group) // _MEASURED]]
        self.gsds = [size for size in (grid.ground_sample_distance() for grid in some) if size is not None]

    def errors(self) -> Iterator[str]:
        """What cannot be trained on."""
        if not self.usable:
            told = [f"{name}: {found.defect}" for name, found in self._every]
            yield f"none of the {len(told)} images can be used: {listed(told)}"
            return
        odd = [name for name, found in self.usable if found.unknown_pixels]
        if odd:
            yield self._unknown_labels(odd)
        if not self._survey.class_pixels.any():
            yield (
                f"none of the {len(self.usable)} images has a labelled pixel: all of them are ignored or without data; "
                "check legend, label_values and, with polygons, class_field and CRS"
            )
        elif np.count_nonzero(self._survey.class_pixels) == 1 and not odd:
            yield self._single_class()
        for name, band in zip(self._source.band_names, self._survey.bands, strict=True):
            if not band.count:
                yield f"band {name} has no value anywhere: choose others with data.bands"
            elif band.is_constant:
                yield f"band {name} is {band.low:g} everywhere: choose others with data.bands"

    def warnings(self) -> Iterator[str]:
        """What looks wrong."""
        yield from self._sheet_warnings()
        yield from self._class_warnings()
        yield from self._value_warnings()
        yield from self._place_warnings()

    def _unknown_labels(self, odd: Sequence[str]) -> str:
        pixels = sum(found.unknown_pixels for _, found in self.usable)
        most = sorted(self._survey.unknown.items(), key=lambda item: -item[1])
        values = listed([f"{value} ({count} px)" for value, count in most], 5)
        told = f" with the values {values}" if values else ""
        return (
            f"labels outside the legend: {pixels} px{told} in {len(odd)} of {len(self.usable)} images: {listed(odd)}; "
            "put them into the legend, or say what they mean with label_values"
        )

    def _single_class(self) -> str:
        name = self._source.legend.names[int(np.argmax(self._survey.class_pixels))]
        return (
            f"all labelled pixels are {name!r}, so that there is nothing to tell it from; say with --unlabelled "
            "(data.unlabelled) which class the ground without polygon is, or give labels of two classes"
        )

    def _sheet_warnings(self) -> Iterator[str]:
        total = len(self._every)
        broken = [f"{name} ({found.defect})" for name, found in self._every if found.defect is not None]
        if broken and self.usable:
            yield f"{len(broken)} of {total} images cannot be used and are left out: {listed(broken)}"
        empty = [name for name, found in self.usable if not found.pixels]
        if empty:
            yield f"{len(empty)} of {total} images hold no data at all: {listed(empty)}"
        bare = [name for name, found in self.usable if found.pixels and not found.labelled]
        if bare and len(bare) + len(empty) < len(self.usable):
            yield f"{len(bare)} of {total} images have no labelled pixel: {listed(bare)}"
        single = [name for name, found in self.usable if np.count_nonzero(found.class_pixels) == 1]
        if single and len(self._source.legend) > 1:
            yield f"{len(single)} of {total} images hold a single class: {listed(single)}"

    def _class_warnings(self) -> Iterator[str]:
        pixels = self._survey.class_pixels
        if not pixels.any():
            return
        shares = dict(zip(self._source.legend.names, (pixels / pixels.sum()).tolist(), strict=True))
        never = [name for name, share in shares.items() if not share]
        if never:
            yield f"{len(never)} of {len(shares)} classes never occur and cannot be learned: {listed(never, 8)}"
        rare = [f"{name} ({share:.2g} of all)" for name, share in shares.items() if 0 < share < _RARE]
        if rare:
            yield (
                f"{len(rare)} of {len(shares)} classes are rarer than {_RARE:.1%}: {listed(rare, 8)}; consider "
                "chips.class_aware or class weights"
            )

    def _value_warnings(self) -> Iterator[str]:
        broken = [(name, found.not_finite) for name, found in self.usable if found.not_finite]
        if broken:
            names = listed([name for name, _ in broken])
            count = sum(samples for _, samples in broken)
            yield f"{count} samples are NaN or infinite and count as no data, in {len(broken)} images: {names}"
        for number, band in enumerate(self._source.band_names):
            sized = [(name, found.bands[number]) for name, found in self.usable if found.bands[number].count]
            sizes = {name: max(abs(b.p01), abs(b.p99)) for name, b in sized}
            typical = float(np.median([size for size in sizes.values() if size] or [0.0]))
            odd = [
                f"{name} ({b.p01:.4g} .. {b.p99:.4g})"
                for name, b in sized
                if sizes[name] * _OTHER_RANGE < typical or sizes[name] > typical * _OTHER_RANGE
            ]
            if odd:
                yield (
                    f"values of {band} are of another size in {len(odd)} of {len(sized)} images (typical: up to "
                    f"{typical:.4g}): {listed(odd)}; are they scaled differently?"
                )

    def _place_warnings(self) -> Iterator[str]:
        missing = len(self._every) - len(self.placed)
        if missing and self.placed:
            yield f"{missing} of {len(self._every)} images have no place on the ground"
        names = [_crs_name(grid) for _, grid in self.placed]
        kinds = {name: names.count(name) for name in dict.fromkeys(names)}
        if len(kinds) > 1:
            yield f"images lie in {len(kinds)} reference systems: " + listed(
                [f"{name} ({count})" for name, count in kinds.items()], 8
            )
        if self.gsds and max(self.gsds) > (1 + _UNEQUAL) * min(self.gsds):
            yield f"pixels are of different sizes: {min(self.gsds):.4g} to {max(self.gsds):.4g} m on the ground"
        oblong = [name for group in self._alike if _is_oblong(group[0][1]) for name, _ in group]
        if oblong:
            yield f"pixels of {len(oblong)} images are not square: {listed(oblong)}"
        pairs = Footprints(self._source).pairs
        if pairs:
            sheets = self._source.sheets
            told = [f"{sheets[a].name} and {sheets[b].name} ({pixels} px)" for a, b, pixels in pairs]
            yield (
                f"{len(pairs)} pairs of images show the same ground, {sum(p for *_, p in pairs)} px in all: "
                f"{listed(told)}; ground that one is judged on is closed in the other"
            )


def _alike(placed: Sequence[tuple[str, Grid]]) -> list[list[tuple[str, Grid]]]:
    """Grids by reference system and size of pixels: measuring each of thousands on the ellipsoid would take minutes."""
    groups: dict[object, list[tuple[str, Grid]]] = {}
    for name, grid in placed:
        t = grid.transform
        steps = tuple(f"{v:.6g}" for v in (t.a, t.b, t.d, t.e))
        groups.setdefault((grid.crs_wkt, steps, name if grid.gcps else None), []).append((name, grid))
    return list(groups.values())


def _crs_name(grid: Grid) -> str:
    return str(grid.crs_wkt).split('"')[1]


def _is_oblong(grid: Grid) -> bool:
    if grid.is_geographic or grid.gcps:
        down, across = grid.pixel_sides() or (1.0, 1.0)
    else:
        t = grid.transform
        down, across = float(np.hypot(t.b, t.e)), float(np.hypot(t.a, t.d))
    return max(down, across) > (1 + _UNEQUAL) * min(down, across)
