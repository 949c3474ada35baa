"""A country on many workers, on paper: what it takes, and what is at its limit first, from rates that were measured.

usage: python benchmarks/country.py [--measured FILE] [--area KM2] [--gsd METRES] [--bands N] [--workers N] [--cores N]
                                    [--rate MPX] [--disk GB] [--price PRICE] [--write FILE]

``--measured`` is what ``benchmarks/dask_scaling.py`` leaves in its folder; ``--rate`` puts another machine in place of
the worker that was measured. Tiles, regions and parts are counted by geoseg's own planning; nothing is computed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from common import FOLDER, markdown, write_between
from scaling.paper import Bill, Country, Rates, bill, limits, ways

GPU_MPX = 20.0
"""Mpx/s of a worker with a GPU: assumed, to see what then comes first."""


# --- tables ---------------------------------------------------------------------------------------------------------


def tables(country: Country, rates: Rates) -> str:
    """All of the section, in Markdown."""
    bills = [bill(country, rates, way) for way in ways(country)]
    return "\n\n".join(
        [_inputs(country, rates), _amounts(country, rates, bills[0]), _bills(bills), _limits(country, rates)]
    )


def _inputs(country: Country, rates: Rates) -> str:
    ms, us = 1e3, 1e6
    rows: list[list[object]] = [
        ["A, g", "area, pixel size", f"{country.area:,.0f} km², {country.gsd} m", "assumed"],
        ["b", "bytes a pixel of the scene, uncompressed", country.bands, "assumed"],
        ["W", "workers, of so many cores", f"{country.workers:,} of {country.cores}", "assumed"],
        ["D", "shared storage, reading and writing, for all together", f"{country.disk} GB/s", "assumed"],
        ["c", "price of a core for an hour", country.price, "assumed"],
        ["r", "a worker, Mpx/s of the scene", f"{rates.worker:.3g}", "measured"],
        ["s", "start of workers, loading the network", f"{rates.start:.3g} s", "measured"],
        ["o", "client, a scene, at least", f"{rates.scene:.3g} s", "measured"],
        ["t", "client, a task", f"{rates.client[0] * ms:.3g} ms", "measured"],
        ["p", "client, a part", f"{rates.client[1] * ms:.3g} ms", "measured"],
        ["q", "client, for the square of the parts of a scene", f"{rates.client[2] * us:.2g} µs", "measured"],
        ["u, v", "scheduler, a task and a part", f"{rates.scheduler[0] * ms:.3g} and {rates.scheduler[1] * ms:.3g} ms",
         "measured"],
        ["l", "a worker, beginning a region, for each part in the folder", f"{rates.listing * us:.3g} µs", "measured"],
        ["m", "client, assembling the map", f"{rates.assembly:.3g} Mpx/s", "measured"],
        ["e, f", "bytes a pixel of parts and of the map", f"{rates.part:.2g} and {rates.map:.2g}", "measured"],
        ["h", "client's memory for each part", f"{rates.memory / 1024:.2g} KiB", "measured"],
    ]  # fmt: skip
    return markdown(["", "what", "value", ""], rows)


def _amounts(country: Country, rates: Rates, whole: Bill) -> str:
    counts, pixels = whole.counts, whole.way.side**2
    rows: list[list[object]] = [
        ["pixels N", "A / g²", f"{pixels:.3g}"],
        ["tiles", "of 512 px with an overlap of 128", f"{counts.tiles:.3g}"],
        ["computed twice x", "counted", f"{100 * counts.share_twice:.1f} %"],
        ["parts P", "counted; 4 Mpx or a row of tiles each", f"{counts.parts:,}"],
        ["tasks T", "counted", f"{counts.regions:,}"],
        ["bytes in", "N b (1 + x)", _bytes(pixels * country.bands * (1 + counts.share_twice))],
        ["bytes of parts", "N e", _bytes(pixels * rates.part)],
        ["bytes of the map", "N f", _bytes(pixels * rates.map)],
        ["workers", "N (1 + x) / (W r)", _hours(whole.during["workers"])],
        ["client, parts and tasks", "o + t T + p P + q P²", _hours(whole.during["client"])],
        ["scheduler", "u T + v P", _hours(whole.during["scheduler"])],
        ["storage, reading", "N b (1 + x) / D", _hours(whole.during["storage, reading"])],
        ["storage, writing", "N e / D", _hours(whole.during["storage, writing"])],
        ["client, assembly, when workers are done", "N / m", _hours(whole.after["assembly"])],
        ["client's memory, beside what it begins with", "h P", f"{counts.parts * rates.memory / 2**30:.2g} GiB"],
        ["from first to last", "s + the longest of the five + assembly", _hours(whole.hours)],
        ["cost", "that, times W × cores × c", _number(whole.cost)],
    ]
    return markdown(["one mosaic, one client", "formula", "value"], rows)


def _bills(bills: Sequence[Bill]) -> str:
    head = [
        "way", "scenes", "workers of a client", "tasks", "computed twice", "workers busy", "workers, h",
        "storage, h", "client, h", "assembling, h", "in all, h", "cost", "takes longest",
    ]  # fmt: skip
    rows = [
        [
            b.way.name, f"{b.way.scenes:,}", b.counts.workers, f"{b.way.scenes * b.counts.regions:,}",
            f"{100 * b.counts.share_twice:.1f} %", f"{100 * b.busy:.0f} %", _number(b.during["workers"]),
            _number(b.during["storage, reading"]), _number(b.during["client"]),
            _number(b.during["assembly"] + b.after["assembly"]), _number(b.hours), _number(b.cost), b.first,
        ]
        for b in bills
    ]  # fmt: skip
    return markdown(head, rows)


def _limits(country: Country, rates: Rates) -> str:
    formulae = {
        "client, assembly": "m / r", "storage, reading": "D / (b r)", "storage, writing": "D / (e r)",
        "client, parts and tasks": "N / (r (t T + p P + q P²))", "scheduler": "N / (r (u T + v P))",
    }  # fmt: skip
    whole = ways(country)[0]
    slow, fast = (limits(country, rates, whole, worker) for worker in (rates.worker, GPU_MPX))
    rows = [
        [name, formulae[name], _number(slow[name]), _number(fast[name])] for name in sorted(slow, key=slow.__getitem__)
    ]
    return markdown(
        [
            "one client: at its limit", "formula", f"at workers of {rates.worker:.2g} Mpx/s (measured)",
            f"of {GPU_MPX:.0f} Mpx/s (assumed: a GPU each)",
        ],
        rows,
    )  # fmt: skip


def _hours(value: float) -> str:
    return f"{_number(value)} h"


def _number(value: float) -> str:
    """Two digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _bytes(value: float) -> str:
    return f"{_number(value / 1e12)} TB"


def main() -> None:
    """Run and print."""
    usual = Country()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, default=FOLDER / "full" / "dask_scaling.json")
    parser.add_argument("--rate", type=float, metavar="MPX", help="Mpx/s of a worker, instead of the measured one")
    for name in ("area", "gsd", "bands", "workers", "cores", "disk", "price"):
        value = getattr(usual, name)
        parser.add_argument(f"--{name}", type=type(value), default=value, help="default: %(default)s")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the tables into this file")
    args = parser.parse_args()
    names = ("area", "gsd", "bands", "workers", "cores", "disk", "price")
    text = tables(
        Country(**{name: getattr(args, name) for name in names}),
        Rates.of(json.loads(args.measured.read_text()), args.rate),
    )
    print(text)
    if args.write:
        write_between(args.write, __file__, text)


if __name__ == "__main__":
    main()
