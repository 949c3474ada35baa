"""What was found, as tables; and the figures that more than one of them needs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from common import markdown
from scaling.plans import Counts

GOALS = {"2 workers": "≥ 0.9", "1 worker": "≤ 1.05"}
MIB = 2**20


def median(found: Mapping[str, Any], way: str, what: str) -> float:
    """Seconds of a way: ``whole`` or ``net``."""
    return float(statistics.median(took[what] for took in found[way]["took"]))


def ratio(found: Mapping[str, Any], over: str, under: str, what: str) -> float:
    """Seconds of one way over those of another in the same turn, the median of all turns."""
    turns = zip(found[over]["took"], found[under]["took"], strict=True)
    return float(statistics.median(a[what] / b[what] for a, b in turns))


def start_up(found: Mapping[str, Any], way: str) -> float:
    """Seconds of a command in which no tile is computed."""
    return float(statistics.median(took["whole"] - took["net"] for took in found[way]["took"]))


def speed_table(speed: Mapping[str, Any]) -> str:
    """Each way under each backend."""
    head = ["backend", "way", "net, s", "whole command, s", "start-up, s", "ratio, net", "ratio, whole", "to reach",
            "pixels that differ", "ran"]  # fmt: skip
    rows: list[list[object]] = []
    for backend, found in speed["backends"].items():
        for way, values in found.items():
            net, whole = _ratios(found, way)
            rows.append([
                backend, way, median(found, way, "net"), median(found, way, "whole"), start_up(found, way), net, whole,
                GOALS.get(way), values["differing"], values["took"][0]["ran"],
            ])  # fmt: skip
    return markdown(head, rows)


def _ratios(found: Mapping[str, Any], way: str) -> list[str | None]:
    """Net and whole: of two workers their efficiency, of one what Dask adds."""
    if way == "local":
        return [None, None]
    over, under = ("local", way) if way == "2 workers" else (way, "local")
    return [f"{ratio(found, over, under, what):.3f}" for what in ("net", "whole")]


def plan_table(counted: Mapping[tuple[int, int], Sequence[Counts]]) -> str:
    """Scenes against workers: tiles computed twice, and how busy all workers are."""
    many = [counts.workers for counts in next(iter(counted.values()))]
    rows = [
        [
            f"{height:,}×{width:,}", f"{each[0].tiles:,}", each[0].parts,
            *(f"{100 * c.share_twice:.1f} % in {c.regions}, {100 * _busy(c):.0f} %" for c in each),
        ]
        for (height, width), each in counted.items()
    ]  # fmt: skip
    names = [f"{n} worker{'s' if n > 1 else ''}" for n in many]
    return markdown(["scene, height×width", "tiles", "parts", *names], rows)


def _busy(counts: Counts) -> float:
    """Share of the time until the last worker is done in which workers compute."""
    return (counts.tiles + counts.twice) / (counts.workers * counts.longest)


def client_table(loads: Sequence[Mapping[str, float]]) -> str:
    """What client and scheduler take, by tasks, parts and workers."""
    head = [
        "tasks", "parts", "workers", "tasks/s", "client, peak MiB", "of that before the first task",
        "scheduler, peak MiB", "client, ms of a core a task", "scheduler, ms of a core a task",
        "a worker's look at what is there, ms",
    ]  # fmt: skip
    rows = [
        [
            f"{r['tasks']:,}", f"{r['parts']:,}", r["workers"], r["tasks"] / r["seconds"],
            f"{r['client_peak'] / MIB:.0f}", f"{r['before'] / MIB:.0f}", f"{r['scheduler_peak'] / MIB:.0f}",
            1e3 * r["client_cpu"] / r["tasks"], 1e3 * r["scheduler_cpu"] / r["tasks"], 1e3 * r["listing"],
        ]
        for r in loads
    ]  # fmt: skip
    return markdown(head, rows)


def assembly_table(made: Mapping[str, float]) -> str:
    """What the client does in the end."""
    mpx = made["pixels"] / 1e6
    row = [f"{mpx:.0f}", made["parts"], made["seconds"], mpx / made["seconds"], made["part_bytes"] / made["pixels"],
           made["map_bytes"] / made["pixels"]]  # fmt: skip
    return markdown(["Mpx", "parts", "s", "Mpx/s", "bytes of parts a pixel", "bytes of the map a pixel"], [row])


def small_table(small: Mapping[str, Mapping[str, Any]]) -> str:
    """Whole commands on scenes that are too small."""
    rows = [
        [size, median(found, "local", "whole"), median(found, "2 workers", "whole"),
         f"{ratio(found, '2 workers', 'local', 'whole'):.2f}", median(found, "local", "net"),
         median(found, "2 workers", "net")]
        for size, found in small.items()
    ]  # fmt: skip
    head = [
        "scene",
        "one process, s",
        "`--workers 2`, s",
        "times as long",
        "one process, net, s",
        "`--workers 2`, net, s",
    ]
    return markdown(head, rows)
