"""How steps are given out: every step once, whole columns in order, and few tiles twice."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoseg.distributed import Cluster
from geoseg.inference import steps
from geoseg.inference.clustered import Clustered
from geoseg.inference.regions import MOST_TWICE, plan_regions
from geoseg.inference.steps import plan_steps
from geoseg.threads import Stopwatch
from geoseg.tiling import TileGrid, Window


def planned(grid: TileGrid) -> tuple[Window, ...]:
    return plan_steps(grid, Window(0, 0, grid.height, grid.width), 8)


def tiles_of(grid: TileGrid, region: tuple[Window, ...]) -> int:
    rows = grid.rows.covering(region[0].row_off, region[-1].row_end)
    return len(rows) * len(grid.cols.covering(region[0].col_off, region[0].col_end))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    height=st.integers(1, 400), overlap=st.integers(0, 15), workers=st.integers(1, 9),
    size=st.none() | st.integers(1, 5), every=st.integers(2, 9),
)  # fmt: skip
def test_regions_partition_what_is_missing(
    height: int, overlap: int, workers: int, size: int | None, every: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "STEP_PIXELS", 1)
        patch.setattr(steps, "PANEL_BYTES", 4 * 8 * 16 * 40)
        grid = TileGrid(height, 90, 16, overlap)
        windows = planned(grid)
    done = {window for i, window in enumerate(windows) if not i * i % every}
    found = plan_regions(grid, windows, done, workers, size)
    assert [w for region in found.steps for w in region] == [w for w in windows if w not in done]
    for region in found.steps:
        assert region
        assert len({(w.col_off, w.width) for w in region}) == 1
        assert all(above.row_end == below.row_off for above, below in pairwise(region))
        assert size is None or len(region) <= size
    assert sum(tiles_of(grid, region) for region in found.steps) == found.tiles + found.twice


@pytest.mark.parametrize("workers", [1, 2, 4, 16])
def test_of_a_large_scene_at_most_a_twentieth_is_computed_twice(workers: int) -> None:
    grid = TileGrid(200_000, 20_000, 512, 128)
    found = plan_regions(grid, planned(grid), set(), workers)
    assert 0 < found.twice <= MOST_TWICE * found.tiles or workers == 1 == len(found.steps)
    assert len(found.steps) >= workers
    assert len(found.steps) % workers == 0


@pytest.mark.parametrize("workers", [8, 64, 200])
def test_regions_of_a_narrow_panel_are_no_larger_than_others(workers: int) -> None:
    """Its steps hold more rows of tiles than those of wide panels do."""
    grid = TileGrid(100_000, 67_000, 512, 128)
    windows = planned(grid)
    assert len({window.height for window in windows if window.row_off == 0}) == 2
    found = plan_regions(grid, windows, set(), workers)
    each = [tiles_of(grid, region) for region in found.steps]
    assert max(each) <= 1.3 * sum(each) / len(each)


def test_every_worker_gets_a_region_where_there_are_steps_enough() -> None:
    grid = TileGrid(4000, 12_000, 512, 128)
    windows = planned(grid)
    assert len(windows) > 4
    assert len(plan_regions(grid, windows, set(), 4).steps) == 4
    assert len(plan_regions(grid, windows, set(), 1000).steps) == len(windows)


def test_nothing_is_given_out_where_nothing_is_missing() -> None:
    grid = TileGrid(4000, 12_000, 512, 128)
    windows = planned(grid)
    found = plan_regions(grid, windows, set(windows), 4)
    assert (found.steps, found.tiles, found.twice) == ((), 0, 0)


def on(cluster: Cluster, *, own: bool, claim: Any = None) -> Clustered:
    """What gives work to a crew of one worker that is never asked for it."""
    crew: Any = SimpleNamespace(cluster=cluster, own=own, workers=lambda: {"w0"})
    return Clustered(crew, claim=claim)


def test_to_the_only_worker_of_our_own_each_area_is_one_region() -> None:
    grid = TileGrid(40_000, 3_000, 512, 128)
    windows = planned(grid)
    job, run = SimpleNamespace(grid=grid, steps=windows), SimpleNamespace(done={windows[3]})
    areas = (windows[:3], windows[4:])
    plans: Any = {
        name: on(cluster, own=own)._plan(job, run, 1)  # type: ignore[arg-type]
        for name, cluster, own in (
            ("ours", Cluster(workers=1), True),
            ("chosen", Cluster(workers=1, region_parts=2), True),
            ("theirs", Cluster(scheduler="tcp://host:8786"), False),
        )
    }
    assert plans["ours"].steps == areas
    assert plans["ours"].twice == 0
    assert max(map(len, plans["chosen"].steps)) == 2
    assert plans["theirs"] == plan_regions(grid, windows, run.done, 1)
    assert len(plans["theirs"].steps) > 2


def test_a_scene_of_which_nothing_is_missing_lets_others_begin() -> None:
    grid = TileGrid(2_000, 2_000, 512, 128)
    windows, told = planned(grid), list[int]()
    claim = SimpleNamespace(plan=told.append, settle=lambda: None)
    job: Any = SimpleNamespace(grid=grid, steps=windows)
    run: Any = SimpleNamespace(done=set(windows))
    on(Cluster(workers=2), own=True, claim=claim).compute(job, run, lambda _: None, Stopwatch([]))
    assert told == [0]
