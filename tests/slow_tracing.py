"""A slow tracer of strips in plain Python, which shares no code with geoseg: what the joiner is tested with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage

from geoseg.polygons.shapes import AT_BOTTOM, AT_TOP, CLOSED, CONFIDENCE_UNIT, Fragments, PatchTable

STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # east, south, west, north
LEFT_PIXEL = ((0, -1), (0, 0), (-1, 0), (-1, -1))  # of an edge that leaves the corner (0, 0), as (column, row)
RIGHT_PIXEL = ((0, 0), (-1, 0), (-1, -1), (0, -1))


class SlowStrip:
    """Rows ``top`` .. ``bottom`` of ``labels``; it looks at them and at the row above only."""

    def __init__(self, labels: np.ndarray, top: int, bottom: int, confidence: np.ndarray, wanted: set[int]) -> None:
        self.height, self.width = labels.shape
        self.top, self.bottom, self.last = top, bottom, bottom == self.height
        self.seen = {
            (x, y): int(labels[y, x]) for y in range(max(0, top - 1), bottom) for x in range(self.width)
        }  # fmt: skip
        self.confidence, self.wanted = confidence, wanted

    def label(self, x: int, y: int) -> int:
        return self.seen.get((x, y), 0)

    def is_border(self, x: int, y: int, direction: int) -> bool:
        """Whether the pixel edge that leaves corner (x, y) separates two patches."""
        (lx, ly), (rx, ry) = LEFT_PIXEL[direction], RIGHT_PIXEL[direction]
        return self.label(x + lx, y + ly) != self.label(x + rx, y + ry)

    def is_owned(self, y: int, direction: int) -> bool:
        if direction in (0, 2):
            return self.top <= y < self.bottom or (self.last and y == self.bottom)
        return self.top <= y + (direction == 1) - 1 < self.bottom

    def onward(self, x: int, y: int, direction: int) -> tuple[int, int, int]:
        """The edge after the one that arrives at (x, y): left, straight on, or right."""
        turned = next(d % 4 for d in (direction + 3, direction, direction + 1) if self.is_border(x, y, d % 4))
        return x, y, turned

    def is_vertex(self, x: int, y: int, arrival: int, departure: int) -> bool:
        return arrival != departure or sum(self.is_border(x, y, d) for d in range(4)) > 2

    def is_touch(self, x: int, y: int) -> bool:
        return all(self.is_border(x, y, d) for d in range(4))

    def edges(self) -> list[tuple[int, int, int]]:
        """Owned border edges with a wanted label on their left, by corner and direction."""
        found = []
        for y in range(self.top, self.bottom + 1):
            for x in range(self.width + 1):
                for d, (lx, ly) in enumerate(LEFT_PIXEL):
                    if self.label(x + lx, y + ly) in self.wanted and self.is_owned(y, d) and self.is_border(x, y, d):
                        found.append((x, y, d))
        return found

    def fragments(self) -> Fragments:
        """All of the strip as open rest: patches that are whole too, which the joiner must give back at once."""
        own = {p: v for p, v in self.seen.items() if p[1] >= self.top and v in self.wanted}
        patch_of, table = self._patches(own)
        above, run_of = self._runs()
        joins = {
            (run_of[x], patch_of[x, self.top]) for x in run_of if self.label(x, self.top) == self.label(x, self.top - 1)
        }
        bottom = [-1 if self.last else patch_of.get((x, self.bottom - 1), -1) for x in range(self.width)]

        def face(edge: tuple[int, int, int]) -> int:
            x, y = edge[0] + LEFT_PIXEL[edge[2]][0], edge[1] + LEFT_PIXEL[edge[2]][1]
            return patch_of[x, y] if y >= self.top else len(table) + run_of[x]

        pieces = self._pieces()
        chains = [chain for _, chain, *_ in pieces]
        points = [p for chain in chains for p in chain]
        return Fragments(
            width=self.width,
            top=self.top,
            last=self.last,
            table=table,
            above=np.array(above, np.int32),
            joins=np.array(sorted(joins), np.int32).reshape(-1, 2),
            bottom=np.array(bottom, np.int32),
            points=np.array(points, np.float64).reshape(-1, 2),
            starts=np.cumsum([0, *map(len, chains)]).astype(np.int64),
            touch=np.array([self.is_touch(*p) for p in points], bool),
            face=np.array([face(edge) for edge, *_ in pieces], np.int32),
            begin_side=np.array([piece[2] for piece in pieces], np.uint8),
            end_side=np.array([piece[4] for piece in pieces], np.uint8),
            begin_x=np.array([piece[3] for piece in pieces], np.int32),
            end_x=np.array([piece[5] for piece in pieces], np.int32),
        )

    def _patches(self, own: dict[tuple[int, int], int]) -> tuple[dict[tuple[int, int], int], PatchTable]:
        patch_of: dict[tuple[int, int], int] = {}
        rows = []
        for value in sorted(self.wanted):
            image = np.zeros((self.bottom - self.top, self.width), bool)
            for (x, y), v in own.items():
                image[y - self.top, x] = v == value
            ids, count = ndimage.label(image)
            for i in range(1, count + 1):
                at = np.argwhere(ids == i) + np.array([self.top, 0])
                patch_of |= {(int(x), int(y)): len(rows) for y, x in at}
                values = np.array([self.confidence[y, x] for y, x in at])
                known = values[~np.isnan(values)].astype(np.float64)
                total = int(np.rint(known * CONFIDENCE_UNIT).sum())
                rows.append((value, len(at), int(at[0, 0]) * self.width + int(at[0, 1]), total, len(known)))
        columns = np.array(rows, np.int64).reshape(-1, 5).T
        return patch_of, PatchTable(columns[0].astype(np.uint8), *columns[1:])

    def _runs(self) -> tuple[list[int], dict[int, int]]:
        """First columns of the runs of wanted labels above, and the run of each of their columns."""
        row = [self.label(x, self.top - 1) for x in range(self.width)]
        first = [x for x in range(self.width) if row[x] in self.wanted and (x == 0 or row[x] != row[x - 1])]
        return first, {x: sum(f <= x for f in first) - 1 for x in range(self.width) if row[x] in self.wanted}

    def _pieces(self) -> list[tuple]:
        """(an edge of it, its vertices, begin side, begin column, end side, end column) of each piece."""
        left = self.edges()
        after = {
            e: self.onward(e[0] + STEPS[e[2]][0], e[1] + STEPS[e[2]][1], e[2]) for e in left if not self._leaves(e)
        }
        before = {b: a for a, b in after.items()}
        starts = [e for e in left if e not in before]
        pieces, done = [], set()
        for start in [*starts, *left]:
            if start in done:
                continue
            chain, edge = [], start
            if edge not in before:  # it comes from the seam: the pin of the line above is ours, the one below is not
                x, y, d = edge
                side = AT_TOP if y == self.top else AT_BOTTOM
                if side == AT_TOP and self.is_vertex(x, y, 1, d):
                    chain.append((x, y))
                begin = side, x
            else:
                begin = CLOSED, 0
            end = begin if begin[0] == CLOSED else None
            while edge is not None and edge not in done:
                done.add(edge)
                x, y = edge[0] + STEPS[edge[2]][0], edge[1] + STEPS[edge[2]][1]
                follows = after.get(edge)
                if follows is not None:
                    if self.is_vertex(x, y, edge[2], follows[2]):
                        chain.append((x, y))
                    edge = follows
                    continue
                side = AT_TOP if y == self.top else AT_BOTTOM
                if side == AT_TOP and self.is_vertex(x, y, edge[2], 3):
                    chain.append((x, y))
                end, edge = (side, x), None
            pieces.append((start, chain, *begin, *end))
        return pieces

    def _leaves(self, edge: tuple[int, int, int]) -> bool:
        """Whether an edge ends where another strip goes on."""
        x, y = edge[0] + STEPS[edge[2]][0], edge[1] + STEPS[edge[2]][1]
        if y == self.bottom and not self.last:
            return True
        _, y, direction = self.onward(x, y, edge[2])
        return not self.is_owned(y, direction)


def slow_strips(
    labels: np.ndarray, cuts: list[int], wanted: set[int], confidence: np.ndarray | None = None
) -> list[Fragments]:
    """The strips of ``labels`` between rows 0, ``cuts`` and the last."""
    given = np.full(labels.shape, np.nan, np.float32) if confidence is None else confidence
    rows = [0, *cuts, len(labels)]
    return [SlowStrip(labels, a, b, given, wanted).fragments() for a, b in pairwise(rows)]
