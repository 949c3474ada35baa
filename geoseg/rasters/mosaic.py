"""Many files read as one scene, without copying and with few of them open."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely

from geoseg.errors import ParameterError, RasterError
from geoseg.rasters.identity import joint_identity
from geoseg.rasters.members import Member, check_fit, joint_dtype, laid_out, member_of
from geoseg.rasters.opening import DEFAULT_CACHE
from geoseg.rasters.reading import FileScene, open_quietly
from geoseg.rasters.scenes import refuse_outside
from geoseg.rasters.validity import Pixels, is_valid_repeated, joined
from geoseg.tiling import Window

log = logging.getLogger("geoseg")

_MOST_CACHE = 2**30
_LEAST_OPEN, _MOST_OPEN = 16, 256
_SPARSE = 0.01
_PATCHES = 16


class MosaicScene:
    """A scene of many files; made by :func:`open_mosaic`. See :class:`geoseg.rasters.Scene`.

    Attributes:
        name: The first file, and how many more.
        grid: The smallest rectangle on the files' lattice that holds them all.
        dtype: The type that holds the samples of all files.
        bands: Band numbers of the first file.
        band_names: Band names of the first file.
        nodata: Nodata value of each band where all files agree, else None.
        block_shape: Rows and columns of the largest blocks.
        files: Local files that it is made of.
        notices: What is noteworthy about it.
        always_valid: Whether the files cover all of it and every sample of each is data.
        identity: What tells it from others: its files, in their order.
    """

    def __init__(self, members: Sequence[Member], bands: Sequence[int] | None, notices: Sequence[str]) -> None:
        self._members = members
        self._wanted_bands = bands
        first = members[0]
        self.name = first.name if len(members) == 1 else f"{first.name} and {len(members) - 1} more"
        self.grid, self._boxes = laid_out(members)
        self.dtype = joint_dtype(members)
        self.bands, self.band_names = first.bands, first.band_names
        self.nodata = tuple(
            of_band[0] if len(set(map(str, of_band))) == 1 else None
            for of_band in zip(*(m.nodata for m in members), strict=True)
        )
        rows = min(max(m.block_shape[0] for m in members), self.grid.height)
        self.block_shape = (rows, min(max(m.block_shape[1] for m in members), self.grid.width))
        self.files = frozenset[Path]().union(*(m.files for m in members))
        self.notices = tuple(notices)
        self.identity = joint_identity([m.identity for m in members])
        covered = shapely.union_all(shapely.box(*self._boxes[:, [1, 0, 3, 2]].T.astype(np.float64))).area
        self.covered = covered / (self.grid.height * self.grid.width)
        self.always_valid = self.covered == 1.0 and all(m.always_valid for m in members)
        self._lock = threading.Lock()
        itemsize = np.dtype(self.dtype).itemsize
        cache = 2 * rows * self.grid.width * len(self.bands) * itemsize
        self._open = _OpenFiles(_side_by_side(self._boxes, rows), min(max(DEFAULT_CACHE, cache), _MOST_CACHE))

    def read(self, window: Window) -> Pixels:
        """Read a window at full resolution; of files that overlap the last one that has data there shows.

        Where no file has data, samples are absent: those of a file where one lies, else 0.

        Raises:
            ParameterError: The window reaches outside the scene.
            CorruptRasterError: A block cannot be decoded; the message says of which file.
        """
        refuse_outside(window, self.grid, self.name)
        with self._lock:
            return self._composed(window)

    def sample(self, max_side: int = 512) -> Pixels:
        """Pixels from all over the scene, at most about ``max_side`` squared, for statistics of its values.

        Small patches from every file, or from files evenly chosen from the list, put side by side.
        """
        height, width = self.grid.shape
        if max(height, width) <= max_side:
            return self.read(Window(0, 0, height, width))
        rows, cols = (min(max(1, max_side // _PATCHES), side) for side in (height, width))
        patches = [self.read(w) for w in _patches(self._boxes, rows, cols, self.grid.shape)]
        lines = [joined(patches[i : i + _PATCHES], -1) for i in range(0, len(patches), _PATCHES)]
        return joined(lines, -2)

    def close(self) -> None:
        """Close what is open."""
        self._open.close()

    def _composed(self, window: Window) -> Pixels:
        shape = (window.height, window.width)
        values = np.zeros((len(self.bands), *shape), self.dtype)
        valid = np.zeros(shape, np.bool_)
        present: npt.NDArray[np.bool_] | None = None
        for number in self._meeting(window)[::-1]:
            top, left, bottom, right = self._boxes[number].tolist()
            here = (
                slice(max(top, window.row_off) - window.row_off, min(bottom, window.row_end) - window.row_off),
                slice(max(left, window.col_off) - window.col_off, min(right, window.col_end) - window.col_off),
            )
            if valid[here].all():
                continue
            part = Window(
                here[0].start + window.row_off - top, here[1].start + window.col_off - left,
                here[0].stop - here[0].start, here[1].stop - here[1].start,
            )  # fmt: skip
            found = self._open.get(self._members[number], self._wanted_bands).read(part)
            if here == (slice(0, shape[0]), slice(0, shape[1])) and not valid.any() and found.valid.all():
                return Pixels(found.values.astype(self.dtype, copy=False), found.valid, found.present)
            # Where nothing is valid yet, also what is no data: it may be that no file has more.
            free: npt.NDArray[np.bool_] | bool = ~valid[here] if valid[here].any() else True
            np.copyto(values[(slice(None), *here)], found.values, where=free)
            if present is None and not is_valid_repeated(found):
                present = np.repeat(valid[None], len(self.bands), axis=0)
            if present is not None:
                np.copyto(present[(slice(None), *here)], found.present, where=free)
            np.copyto(valid[here], found.valid, where=free)
        return Pixels(values, valid, np.broadcast_to(valid, values.shape) if present is None else present)

    def _meeting(self, window: Window) -> npt.NDArray[np.intp]:
        """Numbers of the files that a window touches, in their order."""
        top, left, bottom, right = self._boxes.T
        rows = (top < window.row_end) & (bottom > window.row_off)
        return np.flatnonzero(rows & (left < window.col_end) & (right > window.col_off))


@contextmanager
def open_mosaic(paths: Sequence[str | Path], bands: Sequence[int] | None = None) -> Iterator[MosaicScene]:
    """Open files that lie on one lattice of pixels as one scene.

    Each file is judged by its own nodata value, alpha and validity band. Where files overlap, the one that comes later
    in the list shows where it has data, and the earlier ones elsewhere. Files are opened as they are needed.

    Args:
        paths: Names as for :func:`open_scene`, at least one.
        bands: As for :func:`open_scene`, of every file.

    Raises:
        MissingFileError: There is nothing under a name.
        RasterError: A file is no raster, or two of them do not fit together: names both, and how to make them fit.
    """
    if not paths:
        raise ParameterError("a mosaic needs at least one file; none is named")
    members: list[Member] = []
    notices: Counter[str] = Counter()
    warnings: dict[str, list[str]] = {}
    for path in paths:
        with open_quietly(path, bands) as scene:
            members.append(member_of(path, scene))
            notices.update(scene.notices)
            for text in scene.warnings:
                warnings.setdefault(text, []).append(scene.name)
        if len(members) > 1:
            check_fit(members[0], members[-1])
            if members[-1].band_names != members[0].band_names:
                text = f"its bands are called {_listed(members[-1])}, those of {members[0].name} {_listed(members[0])}"
                warnings.setdefault(text, []).append(members[-1].name)
    for text, names in warnings.items():
        log.warning("%s%s: %s", names[0], f" and {len(names) - 1} more" if len(names) > 1 else "", text)
    told = [text if n == len(members) else f"{n} of {len(members)} files: {text}" for text, n in notices.items()]
    scene_of_all = MosaicScene(members, bands, told)
    for notice in scene_of_all.notices:
        log.info("%s: %s", scene_of_all.name, notice)
    if scene_of_all.covered < _SPARSE:
        log.warning(
            "%s cover only %.2g %% of the %d×%d pixels that hold them all: is one of them far away?",
            scene_of_all.name, 100 * scene_of_all.covered, *scene_of_all.grid.shape,
        )  # fmt: skip
    try:
        yield scene_of_all
    finally:
        scene_of_all.close()


class _OpenFiles:
    """At most ``most`` open files; the one not used for longest is closed first."""

    def __init__(self, most: int, cache: int) -> None:
        self._most = most
        self._cache = cache
        self._held: OrderedDict[int, tuple[FileScene, AbstractContextManager[FileScene]]] = OrderedDict()

    def get(self, member: Member, bands: Sequence[int] | None) -> FileScene:
        key = id(member)
        if key not in self._held:
            while len(self._held) >= self._most:
                self._held.popitem(last=False)[1][1].__exit__(None, None, None)
            opening = open_quietly(member.path, bands, cache=self._cache)
            scene = opening.__enter__()
            self._held[key] = scene, opening
            _refuse_change(member, scene)
        self._held.move_to_end(key)
        return self._held[key][0]

    def close(self) -> None:
        while self._held:
            self._held.popitem()[1][1].__exit__(None, None, None)


def _refuse_change(member: Member, scene: FileScene) -> None:
    if scene.identity != member.identity:
        raise RasterError(f"{member.name} has changed since the mosaic was opened; run again when it is complete")


def _side_by_side(boxes: npt.NDArray[np.int64], rows: int) -> int:
    """How many files to keep open: those that two strips of block rows touch, within reason."""
    step = 2 * rows
    first, last = boxes[:, 0] // step, (boxes[:, 2] - 1) // step
    changes = np.zeros(int(last.max()) + 2, np.int64)
    np.add.at(changes, first, 1)
    np.add.at(changes, last + 1, -1)
    return int(np.clip(np.cumsum(changes).max() + 1, _LEAST_OPEN, _MOST_OPEN))


def _patches(boxes: npt.NDArray[np.int64], rows: int, cols: int, shape: tuple[int, int]) -> list[Window]:
    """``_PATCHES``² windows that lie evenly in the files, or in evenly chosen files where there are more."""
    total = _PATCHES**2
    side = math.ceil(math.sqrt(total / len(boxes)))
    down, across = np.divmod(np.arange(side**2), side)
    at = np.column_stack([down, across]) + 0.5
    middles = (boxes[:, None, :2] + (boxes[:, None, 2:] - boxes[:, None, :2]) * (at / side)).reshape(-1, 2)
    chosen = middles[np.linspace(0, len(middles) - 1, total).round().astype(int)]
    starts = np.clip(chosen - (rows / 2, cols / 2), 0, np.array(shape) - (rows, cols)).astype(int)
    return [Window(int(top), int(left), rows, cols) for top, left in starts]


def _listed(member: Member) -> str:
    return ", ".join(member.band_names)
