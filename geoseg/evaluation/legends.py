"""One legend for a map and its reference."""

from __future__ import annotations

import re

from geoseg.errors import LegendError
from geoseg.legend import ClassDef, Legend
from geoseg.rasters import ClassRaster

# A class that its file gives no name to.
_NO_NAME = re.compile(r"class \d+")


def shared_legend(predicted: ClassRaster, truth: ClassRaster) -> Legend:
    """The legend of both: one holds all classes of the other, since files without a legend show only what occurs.

    Raises:
        LegendError: Lists the classes that differ.
    """
    ours, theirs = ({c.id: c for c in raster.legend} for raster in (predicted, truth))
    problems = [
        f"{i} is {ours[i].name!r} here and {theirs[i].name!r} there"
        for i in sorted(ours.keys() & theirs.keys())
        if not _one_class(ours[i], theirs[i])
    ]
    if ours.keys() - theirs.keys() and theirs.keys() - ours.keys():
        problems += [
            f"{i} ({classes[i].name}) is only {where}"
            for classes, other, where in ((ours, theirs, "here"), (theirs, ours, "there"))
            for i in sorted(classes.keys() - other.keys())
        ]
    if problems:
        raise LegendError(
            f"the legends of {predicted.name} (here) and {truth.name} (there) contradict each other: class "
            f"{'; class '.join(problems)}; give the reference the ids and names of the prediction"
        )
    fuller = predicted.legend if ours.keys() >= theirs.keys() else truth.legend
    named = {c.id: c for c in (*truth.legend, *predicted.legend) if not is_unnamed(c)}
    return Legend(tuple(named.get(c.id, c) for c in fuller))


def is_unnamed(entry: ClassDef) -> bool:
    """Whether the file of a class gives it no name."""
    return _NO_NAME.fullmatch(entry.name) is not None


def _one_class(a: ClassDef, b: ClassDef) -> bool:
    return a.name == b.name or is_unnamed(a) or is_unnamed(b)
