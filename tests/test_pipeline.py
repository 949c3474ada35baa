"""The pipeline: scores in order, no more under way than the predictor likes, nothing that piles up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from geoseg.blending.stored import Stored
from geoseg.inference.pipeline import STAGES, Pipeline
from geoseg.inference.streaming import RowEnd, TileBatch
from geoseg.threads import Stopwatch
from geoseg.tiling import TileGrid


class Counting:
    """A predictor that knows how many batches are under way."""

    def __init__(self, in_flight: int) -> None:
        self.in_flight = in_flight
        self.now = self.most = 0

    def submit(self, tiles: Any) -> Callable[[], tuple[Any, ...]]:
        self.now += 1
        self.most = max(self.most, self.now)

        def wait() -> tuple[Any, ...]:
            self.now -= 1
            return tuple(tiles.keys)

        return wait


def batch(row: int, col: int) -> TileBatch:
    return TileBatch(row, (col,), np.zeros((1, 1, 2, 2), np.uint8), np.ones((1, 1, 2, 2), bool))


@pytest.mark.parametrize("in_flight", [1, 2, 5])
@pytest.mark.parametrize("tiles", [(3, 0, 0, 2), (1, 1, 1, 1), (0, 0, 0, 0), (9, 0, 0, 9)])
def test_order_is_kept_and_the_predictor_is_never_overrun(in_flight: int, tiles: tuple[int, ...]) -> None:
    predictor = Counting(in_flight)
    items: list[TileBatch | RowEnd] = []
    for row, count in enumerate(tiles):
        items += [*(batch(row, col) for col in range(count)), RowEnd(row, None)]
    found = list(pipeline(predictor)._scored(iter(items)))
    assert [f if isinstance(f, RowEnd) else f[0] for f in found] == items
    assert all(f[1] == ((f[0].row, f[0].cols[0]),) for f in found if not isinstance(f, RowEnd))
    assert predictor.most <= in_flight
    assert predictor.now == 0


def test_rows_without_a_tile_do_not_pile_up_behind_the_last_one() -> None:
    read = 0

    def items() -> Iterator[TileBatch | RowEnd]:
        nonlocal read
        yield batch(0, 0)
        for row in range(1000):
            read += 1
            yield RowEnd(row, None)

    scored = pipeline(Counting(3))._scored(items())
    next(scored)
    assert read < 10
    scored.close()


def pipeline(predictor: Any) -> Pipeline:
    return Pipeline(
        scene=None,  # type: ignore[arg-type]
        predictor=predictor,
        grid=TileGrid(8, 8, 2, 0),
        blend="hann",
        batch=1,
        stored=Stored(),
        touches=None,
        inside=None,
        watch=Stopwatch(STAGES),
    )
