"""A country on many workers, on paper: hours and bytes from rates that were measured, and what is at its limit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scaling.plans import Counts, count
from scaling.results import median, start_up
from scipy.optimize import nnls

from geoseg.inference.lanes import MOST


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured; times are seconds of one processor.

    Attributes:
        worker: Mpx/s of the scene that a worker makes by itself.
        tiles: Tiles/s of the same.
        start: Seconds until workers are there and have loaded the network.
        scene: Seconds that each of many scenes takes at least.
        client: Of the client for a task, for a part, and for the square of the parts of a scene.
        scheduler: Of the scheduler for a task and for a part.
        listing: Of a worker at the beginning of a region, for each part that lies in the folder.
        assembly: Mpx/s at which a client makes a map of parts.
        part: Bytes of parts a pixel.
        map: Bytes of the map a pixel.
        memory: Bytes that a client keeps for each part.
    """

    worker: float
    tiles: float
    start: float
    scene: float
    client: tuple[float, float, float]
    scheduler: tuple[float, float]
    listing: float
    assembly: float
    part: float
    map: float
    memory: float

    @classmethod
    def of(cls, found: Mapping[str, Any], worker: float | None = None) -> Rates:
        """From what ``dask_scaling.py`` found; with a ``worker`` of other Mpx/s in place of the one that ran."""
        speed, loads, made = found["speed"], found["client"], found["assembly"]
        runs = speed["backends"]["openvino"]
        scene = count(speed["height"], speed["width"], 1, tile=speed["tile"], overlap=speed["overlap"])
        seconds = median(runs, "local", "net")
        tiles, rate = scene.tiles / seconds, speed["height"] * speed["width"] / 1e6 / seconds
        alike = [load for load in loads if load["workers"] == min(other["workers"] for other in loads)]
        amounts = [(r["tasks"], r["parts"], r["parts"] ** 2, 1.0) for r in alike]  # 1: what each run takes anyhow
        client = fit(amounts, [r["client_cpu"] for r in alike])
        scheduler = fit([(t, p, one) for t, p, _, one in amounts], [r["scheduler_cpu"] for r in alike])
        least, most = (choose(alike, key=lambda load: load["parts"]) for choose in (min, max))
        return cls(
            worker or rate, tiles * (worker or rate) / rate, start_up(runs, "2 workers"), speed["between"],
            (client[0], client[1], client[2]), (scheduler[0], scheduler[1]), most["listing"] / most["parts"],
            made["pixels"] / 1e6 / made["seconds"], made["part_bytes"] / made["pixels"],
            made["map_bytes"] / made["pixels"],
            (most["client_peak"] - least["client_peak"]) / (most["parts"] - least["parts"]),
        )  # fmt: skip


def fit(amounts: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Seconds for one of each, none below 0, that explain what was measured; the same share off everywhere counts."""
    weighted = np.asarray(amounts, np.float64) / np.maximum(seconds, 0.01)[:, None]  # clocks tick so often
    scale = weighted.max(axis=0)  # the square of 10,000 beside 1 would else be all that is seen
    return [float(value) for value in nnls(weighted / scale, np.ones(len(seconds)))[0] / scale]


@dataclass(frozen=True, slots=True)
class Country:
    """What is to be mapped, with what: all assumed.

    Attributes:
        area: km².
        gsd: Metres.
        bands: Of a byte each.
        workers: Machines.
        cores: Of a machine, as of the one that was measured.
        disk: GB/s that the shared storage reads, and as much that it writes, for all together.
        price: Of a core for an hour.
    """

    area: float = 357_000.0
    gsd: float = 0.3
    bands: int = 4
    workers: int = 1000
    cores: int = 2
    disk: float = 1.25
    price: float = 0.05

    @property
    def pixels(self) -> float:
        """Of the area alone."""
        return self.area * 1e6 / self.gsd**2


@dataclass(frozen=True, slots=True)
class Way:
    """How the work is given out.

    Attributes:
        name: In a few words.
        side: Of a scene in pixels.
        scenes: All of them.
        clients: At a time, each with its share of the workers and of the scenes.
        region_parts: As ``--region-parts``; None is the default.
    """

    name: str
    side: int
    scenes: int
    clients: int
    region_parts: int | None = None

    @property
    def each(self) -> int:
        """Scenes of a client."""
        return -(-self.scenes // self.clients)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a way comes to.

    Attributes:
        way: It.
        counts: Of one scene.
        busy: Share of the time in which workers compute, were there nothing else to wait for.
        during: Hours that each would take by itself while workers compute; the longest is what it takes.
        after: The same, while clients make the last map, or the only one.
        before: Hours in which nothing is computed: workers start.
        cost: Of the cores, which are held to the end.
    """

    way: Way
    counts: Counts
    busy: float
    during: dict[str, float]
    after: dict[str, float]
    before: float
    cost: float

    @property
    def hours(self) -> float:
        """From first to last."""
        return self.before + max(self.during.values()) + max(self.after.values())

    @property
    def first(self) -> str:
        """What takes longest."""
        names = (*self.during, *self.after)
        return max(names, key=lambda name: max(self.during.get(name, 0.0), self.after.get(name, 0.0)))


def ways(country: Country) -> list[Way]:
    """One map; sheets of 10 km; blocks of 100 km and sheets, each client with workers of its own."""
    sheet, block = (round(metres / country.gsd) for metres in (10_000, 100_000))
    sheets, blocks = (math.ceil(country.pixels / side**2) for side in (sheet, block))
    many, few = max(1, country.workers // 4), min(blocks, country.workers)
    return [
        Way("one mosaic, one client", math.ceil(math.sqrt(country.pixels)), 1, 1),
        Way("sheets of 10 km, one client", sheet, sheets, 1),
        Way(f"mosaics of 100 km, {few} clients", block, blocks, few),
        Way(f"sheets of 10 km, {many} clients", sheet, sheets, many),
    ]


def bill(country: Country, rates: Rates, way: Way) -> Bill:
    """What a way takes; see docs/scale-out.md for the formulae in words.

    Of many scenes each is cut for its share of the workers, as long as there are as many as may be open at once: that
    the last ones of a list are cut for more of them is left out.
    """
    workers = max(1, country.workers // way.clients)
    counts = count(way.side, way.side, workers, way.region_parts, among=min(way.each, MOST))
    pixels, parts, tasks = way.side**2 / 1e6, counts.parts, counts.regions
    computed = counts.tiles + counts.twice
    busy = _busy(way, counts)
    disk, every = country.disk * 1e3, way.scenes * pixels  # MB/s, Mpx
    begin = tasks * parts / 2 * rates.listing
    a_task, a_part, squared = rates.client
    during = {
        "workers": way.each * (computed / rates.tiles + begin) / (counts.workers * busy),
        "client": way.each * (rates.scene + a_task * tasks + a_part * parts + squared * parts**2),
        "scheduler": way.each * (rates.scheduler[0] * tasks + rates.scheduler[1] * parts),
        "storage, reading": every * country.bands * (1 + counts.share_twice) / disk,
        "storage, writing": every * (rates.part + (rates.map if way.each > 1 else 0)) / disk,
        "assembly": (way.each - 1) * pixels / rates.assembly,  # of scenes that are complete, beside the others
    }
    after = {"assembly": pixels / rates.assembly, "storage, assembly": way.clients * pixels * rates.map / disk}
    seconds = rates.start + max(during.values()) + max(after.values())
    cost = seconds / 3600 * country.workers * country.cores * country.price
    hours = ({name: value / 3600 for name, value in stages.items()} for stages in (during, after))
    return Bill(way, counts, busy, *hours, rates.start / 3600, cost)


def _busy(way: Way, counts: Counts) -> float:
    """Share of the time in which workers compute."""
    if way.each == 1:
        return counts.efficiency * (1 + counts.share_twice)
    return min(1.0, MOST * counts.regions / counts.workers)  # as many scenes at once as fill them, and a limit allows


def limits(country: Country, rates: Rates, way: Way, worker: float) -> dict[str, float]:
    """How many workers of so many Mpx/s each of what they share can serve, for one client."""
    counts = count(way.side, way.side, country.workers)
    pixels = way.side**2 / 1e6
    a_task, a_part, squared = rates.client
    client = a_task * counts.regions + a_part * counts.parts + squared * counts.parts**2
    scheduler = rates.scheduler[0] * counts.regions + rates.scheduler[1] * counts.parts
    capacity = {
        "client, parts and tasks": pixels / client if client else math.inf,
        "scheduler": pixels / scheduler if scheduler else math.inf,
        "storage, reading": country.disk * 1e3 / country.bands,
        "storage, writing": country.disk * 1e3 / rates.part,
        "client, assembly": rates.assembly,
    }
    return {name: mpx / worker for name, mpx in capacity.items()}
