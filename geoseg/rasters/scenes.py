"""What a scene is to those who read one: a file, a mosaic of many, or either of them resampled."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from geoseg.errors import ParameterError
from geoseg.grids import Grid
from geoseg.rasters.validity import Pixels
from geoseg.tiling import Window


class Scene(Protocol):
    """An open scene; read it from one thread at a time (a lock sees to it).

    Made by :func:`~geoseg.rasters.open_scene`, :func:`~geoseg.rasters.open_mosaic` and
    :func:`~geoseg.rasters.resampled`.
    """

    @property
    def name(self) -> str:
        """Its path or URL, without secrets; of many files the first."""

    @property
    def grid(self) -> Grid:
        """Where its pixels are."""

    @property
    def dtype(self) -> str:
        """NumPy name of the samples' type."""

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers of the bands that are read, from 1."""

    @property
    def band_names(self) -> tuple[str, ...]:
        """Their descriptions; else their colours; else ``band 1``, ..."""

    @property
    def nodata(self) -> tuple[float | None, ...]:
        """Nodata value of each band that is read, None without."""

    @property
    def block_shape(self) -> tuple[int, int]:
        """(rows, columns) of a storage block: full-width strips of so many rows decode each block about once."""

    @property
    def files(self) -> frozenset[Path]:
        """Local files that it is made of; no output may replace one."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What is noteworthy about it."""

    @property
    def always_valid(self) -> bool:
        """Whether ``valid`` and ``present`` of every window are True everywhere, known without reading a pixel."""

    @property
    def identity(self) -> dict[str, object]:
        """What tells it from other scenes and from itself before a change, as JSON: names, sizes, times, bands, grid.

        Without secrets, and the same in every process. Two contents give two identities as far as the system can tell
        without reading the pixels.
        """

    def read(self, window: Window) -> Pixels:
        """Read a window at full resolution. Full-width windows from top to bottom decode each block about once.

        Raises:
            ParameterError: The window reaches outside the scene.
            CorruptRasterError: A block cannot be decoded; the message says which.
        """

    def sample(self, max_side: int = 512) -> Pixels:
        """Pixels from all over the scene, at most about ``max_side`` squared, for statistics of its values."""


def refuse_outside(window: Window, grid: Grid, name: str) -> None:
    """See that a window lies inside a scene.

    Raises:
        ParameterError: It does not.
    """
    if window.row_off < 0 or window.col_off < 0 or window.row_end > grid.height or window.col_end > grid.width:
        raise ParameterError(f"the window ({window}) reaches outside {name} of {grid.height}×{grid.width} pixels")
