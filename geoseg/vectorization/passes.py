"""Progress of a raster that is read several times."""

from __future__ import annotations

from collections.abc import Iterator

from geoseg.polygons.labelling import Bytes
from geoseg.polygons.survey_bands import Strips
from geoseg.tiling import Progress


class Passes:
    """Tells progress in pixels of the raster, every pass over it counting as much.

    Args:
        progress: Told pixels done and in total.
        height: Rows of the raster.
        width: Columns of the raster.
        surveys: How often the raster is read before the pass in which it is traced.
    """

    def __init__(self, progress: Progress | None, height: int, width: int, surveys: int) -> None:
        self._progress = progress
        self._height = height
        self._width = width
        self._surveys = surveys
        self._surveyed = self._traced = 0

    def counted(self, strips: Strips) -> Strips:
        """The same strips; reading them counts until every survey is done."""

        def read() -> Iterator[Bytes]:
            for strip in strips():
                yield strip
                if self._surveyed < self._surveys * self._height:
                    self._surveyed += len(strip)
                    self._tell()

        return read

    def traced(self, rows: int) -> None:
        """``rows`` rows of the raster are traced."""
        self._traced = rows
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            done, total = self._surveyed + self._traced, self._height * self._width
            self._progress(done * self._width // (self._surveys + 1), total)
