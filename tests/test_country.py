"""The simulation of a country: what is counted, what is fitted, and what its formulae say at their ends."""

from __future__ import annotations

import dataclasses
import importlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import write_scene


@pytest.fixture
def benchmarks(project_root: Path) -> Iterator[Any]:
    """Gives modules of the benchmarks by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks" / "scaling"))  # of scripts that run by themselves
        patch.syspath_prepend(str(project_root / "benchmarks"))
        yield importlib.import_module


@pytest.fixture
def rates(benchmarks: Any) -> Any:
    return benchmarks("scaling.paper").Rates(
        worker=1.0, tiles=7.0, start=10.0, scene=0.5, client=(0.002, 0.001, 0.0), scheduler=(0.002, 0.001),
        listing=0.0, assembly=100.0, part=0.05, map=0.1, memory=1000.0,
    )  # fmt: skip


def test_one_worker_computes_every_tile_once_and_the_borders_twice(benchmarks: Any) -> None:
    plans = benchmarks("scaling.plans")
    for side, workers in ((700, 1), (10_980, 1), (10_980, 8), (20_000, 1000)):
        counts = plans.count(side, side, workers)
        assert counts.tiles == (-(-side // 384)) ** 2
        assert counts.regions <= counts.parts
        assert counts.longest * workers >= counts.tiles + counts.twice
        if workers == 1:
            assert counts.longest == counts.tiles + counts.twice
    assert plans.count(20_000, 20_000, 2).share_twice <= 0.05


def test_free_workers_take_the_next_task(benchmarks: Any) -> None:
    longest = benchmarks("scaling.plans").longest
    assert longest([3, 3, 3, 3], 2) == 6
    assert longest([5, 1, 1, 1, 1, 1], 2) == 5
    assert longest([1], 4) == 1
    tasks = [random.Random(0).randint(1, 9) for _ in range(50)]
    assert sum(tasks) / 7 <= longest(tasks, 7) <= sum(tasks) / 7 + max(tasks)


def test_what_each_task_and_part_costs_is_found_again(benchmarks: Any) -> None:
    fit = benchmarks("scaling.paper").fit
    true = np.array([0.003, 0.0005, 2e-9, 0.1])
    amounts = [(t, p, p * p, 1.0) for t, p in ((100, 100), (1000, 1000), (10_000, 10_000), (500, 10_000))]
    assert fit(amounts, [float(np.dot(a, true)) for a in amounts]) == pytest.approx(true, rel=1e-6)
    assert min(fit(amounts, [0.4, 0.3, 0.2, 0.1])) >= 0  # nothing gives time back


def test_rates_come_from_what_was_found(benchmarks: Any) -> None:
    took = {"took": [{"whole": 40.0, "net": 32.0, "ran": ""}], "differing": 0}
    loads = [
        {"tasks": t, "parts": p, "workers": w, "client_cpu": 0.002 * t + 0.001 * p, "scheduler_cpu": 0.004 * t,
         "listing": 2e-6 * p, "client_peak": 1e8 + 500 * p}
        for t, p, w in ((100, 100, 8), (1000, 1000, 8), (500, 10_000, 8), (10_000, 10_000, 8), (7, 7, 100))
    ]  # fmt: skip
    found = {
        "speed": {"backends": {"openvino": {"local": took, "2 workers": took}}, "height": 3840, "width": 3840,
                  "tile": 512, "overlap": 128, "between": 0.5},
        "client": loads,
        "assembly": {"pixels": 2e8, "seconds": 2.0, "part_bytes": 1e7, "map_bytes": 2e7},
    }  # fmt: skip
    rates = benchmarks("scaling.paper").Rates.of(found)
    assert rates.worker == pytest.approx(3.84**2 / 32)
    assert rates.tiles == pytest.approx(100 / 32)
    assert (rates.start, rates.assembly, rates.part, rates.map) == pytest.approx((8.0, 100.0, 0.05, 0.1))
    assert rates.client == pytest.approx((0.002, 0.001, 0.0), abs=1e-9)
    assert rates.scheduler == pytest.approx((0.004, 0.0), abs=1e-9)
    assert (rates.listing, rates.memory) == pytest.approx((2e-6, 500.0))
    fast = benchmarks("scaling.paper").Rates.of(found, 2 * rates.worker)
    assert fast.tiles == pytest.approx(2 * rates.tiles)


def test_a_bill_holds_at_its_ends(benchmarks: Any, rates: Any) -> None:
    paper = benchmarks("scaling.paper")
    country, way = paper.Country(area=900.0, workers=4), paper.Way("one", 100_000, 1, 1)
    plain = paper.bill(country, rates, way)
    pixels = 1e4  # Mpx
    assert plain.after["assembly"] == pytest.approx(pixels / 100 / 3600)
    assert plain.during["storage, reading"] * 3600 == pytest.approx(pixels * 4 * (1 + plain.counts.share_twice) / 1250)
    assert plain.during["workers"] * 3600 == pytest.approx(plain.counts.longest / 7)
    assert plain.first == "workers"
    assert plain.busy == pytest.approx(plain.counts.efficiency * (1 + plain.counts.share_twice))
    assert plain.hours == pytest.approx(plain.before + plain.during["workers"] + plain.after["assembly"])
    assert plain.before * 3600 == rates.start
    assert plain.cost == pytest.approx(plain.hours * 4 * 2 * 0.05)
    slow = paper.bill(country, dataclasses.replace(rates, assembly=0.1), way)
    assert slow.first == "assembly"
    narrow = paper.bill(dataclasses.replace(country, disk=1e-4), rates, way)
    assert narrow.first == "storage, reading"
    shared = paper.bill(country, rates, paper.Way("four", 50_000, 4, 4))
    assert shared.after["assembly"] == pytest.approx(plain.after["assembly"] / 4)


def test_of_many_scenes_as_many_are_under_way_as_fill_the_workers(benchmarks: Any, rates: Any) -> None:
    paper = benchmarks("scaling.paper")
    country = paper.Country(area=900.0, workers=100)
    many = paper.bill(country, rates, paper.Way("many", 20_000, 25, 1, 5))
    pixels = 400  # Mpx each
    assert many.counts.regions == -(-many.counts.parts // 5)
    assert many.busy == 1
    assert many.during["workers"] * 3600 == pytest.approx(25 * (many.counts.tiles + many.counts.twice) / 7 / 100)
    assert many.during["assembly"] * 3600 == pytest.approx(24 * pixels / 100)  # beside others, but for the last
    assert many.after["assembly"] * 3600 == pytest.approx(pixels / 100)
    few = paper.bill(dataclasses.replace(country, workers=10_000), rates, paper.Way("many", 20_000, 25, 1, 5))
    assert few.busy == pytest.approx(paper.MOST * few.counts.regions / 10_000)


def test_of_many_scenes_each_is_cut_for_its_share_of_the_workers(benchmarks: Any, rates: Any) -> None:
    paper, plans = benchmarks("scaling.paper"), benchmarks("scaling.plans")
    country = paper.Country(area=90_000.0, workers=128)
    many, two, one = (paper.bill(country, rates, paper.Way("", 20_000, n, 1)).counts for n in (6000, 2, 1))
    for found, share in ((many, 2), (two, 64), (one, 128)):
        cut = plans.count(20_000, 20_000, share)
        assert (found.twice, found.regions, found.workers) == (cut.twice, cut.regions, 128)
    assert many.share_twice <= 0.05 < two.share_twice


def test_at_its_limit_a_resource_is_as_busy_as_the_workers(benchmarks: Any, rates: Any) -> None:
    """At so many workers, each of them with tiles all the time, it takes what they take."""
    paper = benchmarks("scaling.paper")
    country = paper.Country(workers=4)
    way = paper.Way("one", 100_000, 1, 1)
    bill, found = paper.bill(country, rates, way), paper.limits(country, rates, way, rates.worker)
    alone = 1e4 / rates.worker / 3600  # hours of one worker
    hours = {
        "client, assembly": bill.after["assembly"],
        "scheduler": bill.during["scheduler"],
        "storage, writing": bill.during["storage, writing"],
        "client, parts and tasks": bill.during["client"] - rates.scene / 3600,
    }
    for name, value in hours.items():
        assert alone / found[name] == pytest.approx(value)
    halved = paper.limits(country, rates, way, 2 * rates.worker)
    assert halved == pytest.approx({name: value / 2 for name, value in found.items()})


def test_the_tables_show_every_way_and_limit(benchmarks: Any, rates: Any) -> None:
    country, paper = benchmarks("country"), benchmarks("scaling.paper")
    small = paper.Country(area=40_000.0, gsd=1.0, workers=16)
    text = country.tables(small, rates)
    assert all(way.name in text for way in paper.ways(small))
    assert text.count("| assumed |") == 5
    assert all(name in text for name in paper.limits(small, rates, paper.ways(small)[0], 1.0))


def test_parts_are_assembled_as_prediction_does_it(benchmarks: Any, tmp_path: Path) -> None:
    """On a map that is smaller than what is made of it; the benchmark compares the last part with the map itself."""
    labels = np.random.default_rng(0).integers(1, 8, (90, 70)).astype(np.uint8)
    source = write_scene(tmp_path / "labels.tif", labels, nodata=0)
    (tmp_path / "made").mkdir()
    job = {"map": str(source), "height": 130, "width": 200, "folder": str(tmp_path / "made")}
    found = benchmarks("scaling.assembly").main(job)
    assert (found["pixels"], found["parts"]) == (130 * 200, 1)
    assert min(found["map_bytes"], found["part_bytes"]) > 0
    assert not list((tmp_path / "made").iterdir())
