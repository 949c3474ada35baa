"""A strip of labels to polygons: those that lie in it, and the open rest that the strips around it go on with.

Every strip is traced alone, with only the row above it known, in any order and in any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ParameterError
from geoseg.polygons.chains import find_chains, mark_vertices
from geoseg.polygons.labelling import Bytes, Ints, Longs, Runs, find_runs, number_runs
from geoseg.polygons.lattice import NORTH, SOUTH, Lattice, Pins, find_lattice
from geoseg.polygons.outlines import Reshaped, draw, trim
from geoseg.polygons.rings import Flags, Pieces, Rings, walk
from geoseg.polygons.seams import Seams, find_seams, spread_last_row
from geoseg.polygons.shapes import AT_BOTTOM, AT_TOP, CLOSED, Arcs, Fragments, PatchTable, Points, Shapes
from geoseg.polygons.tables import describe_patches

ShapeArcs = Callable[[Arcs, Bytes], tuple[Points, Longs]]


class _Traced(NamedTuple):
    """A strip as graph."""

    runs: Runs
    numbers: Ints
    table: PatchTable
    seams: Seams
    lattice: Lattice
    darts: Ints
    pieces: Pieces
    rings: Rings
    reshaped: Reshaped | None


# Darts, four for each vertex and at most one vertex for each pixel corner, are numbered by int32.
_MOST_CORNERS = (1 << 29) - 2


def trace_strip(
    labels: Bytes,
    top: int,
    *,
    last: bool,
    confidence: NDArray[np.float32] | None,
    wanted: Flags,
    pin_rows: int = 0,
    pin_cols: int = 0,
    shape_arcs: ShapeArcs | None = None,
) -> tuple[Shapes, Fragments]:
    """Trace the patches of a strip along pixel edges.

    A vertex stands at every corner and wherever three or more patches meet, and nowhere else but at the pins asked for.
    Rings have their patch on the left.

    Args:
        labels: (h + 1, W) the row above the strip, all 0 for the first strip, and the strip's h rows; 0 is no data.
        top: First row of the strip.
        last: No strip follows.
        confidence: (h, W) 0..1, NaN where there is none.
        wanted: (256,) the labels whose patches become polygons. All others keep their borders.
        pin_rows: Rows between lines of pins, at which arcs end; 0 for pins on seams only, which are no vertices.
        pin_cols: Columns between lines of pins; 0 for none.
        shape_arcs: Takes the arcs of the strip, and (h + 1, W + 1) uint8 that is not 0 at every vertex, row 0 being the
            line y = ``top``; returns the points and offsets of the arcs as they shall be, with the same ends.

    Returns:
        The polygons that lie in the strip, by their patches' first pixels, with their exteriors first; and the rest.

    Raises:
        ParameterError: A strip without pixels, one too large, or a seam that is no line of ``pin_rows``, which
            ``shape_arcs`` needs too.
    """
    _check(labels, top, last, pin_rows, pinned=pin_rows > 0 or shape_arcs is not None)
    width = labels.shape[1]
    wanted = wanted & (np.arange(256) > 0)
    runs = find_runs(labels)
    numbers, roots = number_runs(runs, 1)
    table = describe_patches(runs, numbers, roots, top, width, confidence)
    seams = find_seams(runs, numbers, len(roots), wanted, last=last)
    lattice = find_lattice(runs, top, width, last=last, pins=Pins(pin_rows, pin_cols))
    reshaped = None if shape_arcs is None else _reshape(lattice, labels, top, pin_cols, shape_arcs)
    darts, pieces, rings = walk(runs, numbers, lattice, wanted)
    traced = _Traced(runs, numbers, table, seams, lattice, darts, pieces, rings, reshaped)
    return _inside(traced, wanted), _rest(traced, top, width, last=last, keep_straight=pin_rows > 0)


def _reshape(lattice: Lattice, labels: Bytes, top: int, pin_cols: int, shape_arcs: ShapeArcs) -> Reshaped:
    chains = find_chains(lattice, labels, top, pin_cols)
    marks = mark_vertices(lattice, top, len(labels) - 1, labels.shape[1])
    return Reshaped(*shape_arcs(chains.arcs, marks), chains.of_dart, chains.is_end)


def _inside(traced: _Traced, wanted: Flags) -> Shapes:
    """The polygons of the patches that lie in the strip."""
    complete = wanted[traced.table.class_id] & ~traced.seams.is_open[1:]
    rings = traced.rings
    chosen = np.flatnonzero(complete[rings.patches - 1])
    order = chosen[np.argsort(rings.patches[chosen], kind="stable")]
    points, starts, _ = draw(traced.lattice, traced.darts, rings.begins[order], rings.ends[order], traced.reshaped)
    counts = np.bincount(rings.patches, minlength=len(complete) + 1)[1:][complete]
    polygons = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    return Shapes(points, starts, polygons, traced.table.take(np.flatnonzero(complete)))


def _rest(traced: _Traced, top: int, width: int, *, last: bool, keep_straight: bool) -> Fragments:
    """The patches that go on beyond the strip: pieces of their rings, then rings that are closed."""
    runs, numbers, seams, lattice, darts = traced.runs, traced.numbers, traced.seams, traced.lattice, traced.darts
    is_open, pieces, rings = seams.is_open, traced.pieces, traced.rings
    places = np.where(is_open, np.cumsum(is_open, dtype=np.int32) - 1, -1).astype(np.int32)
    count = int(is_open.sum())
    begins, ends = pieces.starts[:-1].astype(np.int32), pieces.starts[1:].astype(np.int32)
    first, final = darts[begins], darts[ends - 1]
    if traced.reshaped is None:
        begins, ends = trim(lattice, darts, begins, ends, keep_straight=keep_straight)
    closed = np.flatnonzero(is_open[rings.patches])
    begins, ends = np.concatenate([begins, rings.begins[closed]]), np.concatenate([ends, rings.ends[closed]])
    points, starts, touch = draw(lattice, darts, begins, ends, traced.reshaped)
    touch[starts[len(first)] :] = False  # rings that are closed are simple
    upper = pieces.runs < runs.rows[1]
    owners = np.where(upper, count + seams.numbers[pieces.runs * upper], places[numbers[pieces.runs]])
    last_row = numbers[runs.rows[-2] : runs.rows[-1]]
    whole = np.zeros(len(closed), np.int32)
    return Fragments(
        width=width,
        top=top,
        last=last,
        table=traced.table.take(np.flatnonzero(is_open[1:])),
        above=seams.above,
        joins=np.column_stack([seams.joins[:, 0], places[seams.joins[:, 1]]]).astype(np.int32),
        bottom=np.full(width, -1, np.int32) if last else spread_last_row(runs, places[last_row], width),
        points=points,
        starts=starts,
        touch=touch,
        face=np.concatenate([owners, places[rings.patches[closed]]]).astype(np.int32),
        begin_side=np.concatenate([np.where(first & 3 == NORTH, AT_BOTTOM, AT_TOP), whole + CLOSED]).astype(np.uint8),
        end_side=np.concatenate([np.where(final & 3 == SOUTH, AT_BOTTOM, AT_TOP), whole + CLOSED]).astype(np.uint8),
        begin_x=np.concatenate([lattice.points[first >> 2, 0], whole]),
        end_x=np.concatenate([lattice.points[final >> 2, 0], whole]),
    )


def _check(labels: Bytes, top: int, last: bool, pin_rows: int, *, pinned: bool) -> None:
    corners = labels.shape[0] * (labels.shape[1] + 1)
    if len(labels) < 2 or labels.shape[1] < 1:
        raise ParameterError(f"a strip of {len(labels) - 1} × {labels.shape[1]} px: give at least one pixel")
    if corners > _MOST_CORNERS:
        raise ParameterError(f"a strip with {corners} pixel corners: give at most {_MOST_CORNERS}")
    seams = ([top] if top else []) + ([] if last else [top + len(labels) - 1])
    if pinned and any(pin_rows == 0 or y % pin_rows for y in seams):
        raise ParameterError(f"seams at y = {seams} with pins every {pin_rows} rows: cut strips at rows of pins")
