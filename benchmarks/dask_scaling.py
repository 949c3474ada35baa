"""What Dask brings and costs: two workers against one process, one against none, and what grows with the regions.

usage: python benchmarks/dask_scaling.py [--quick] [--part speed|small|client|assembly|plan ...] [--repeat N]
                                         [--write DOCS]

Speed: ``geoseg predict`` locally, with ``--workers 2`` and with ``--workers 1`` on the same two cores, in turns.
*Whole* is from the start of the command to its end; *net* is what geoseg itself tells, from the first tile to the
finished map. Of two workers the ratio is their efficiency, local / Dask; of one worker what Dask adds, Dask / local.
Small: the same for scenes that are too small. Client: 100 to 10,000 regions without a network, on a scheduler and
workers of their own. Assembly: parts into a map. Plan: tiles that regions compute twice; counted, not measured.

What was found is kept in the folder, part by part, and all tables are printed of what is there; ``country.py`` goes on
from it. ``--write docs`` puts them into performance.md and scale-out.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import country
from common import RunError, parse, run_measured, say, write_between
from scaling import results
from scaling.load import load
from scaling.paper import Country, Rates
from scaling.plans import count
from scaling.speed import CORES, WAYS, between, cores_here, in_turns, predict
from scenes import make_network, make_scene

BACKENDS = dict.fromkeys(("openvino", "torch"), ("local", "2 workers", "1 worker"))
PLANNED = ((10_980, 10_980), (20_000, 20_000), (50_000, 50_000), (100_000, 100_000), (300_000, 300_000))
WORKERS = (1, 2, 8, 32, 128, 1000)
LOADS = ((100, 1, 8), (1000, 1, 8), (10_000, 1, 8), (10_000, 20, 8), (1000, 1, 100))
"""Parts, parts of a task, workers."""

QUICK_LOADS = ((20, 1, 2), (100, 1, 2), (100, 20, 2), (20, 1, 8))

PLAN_TEXT = (
    "Tiles that default regions compute twice, the number of regions, and the share of the time until the last worker "
    "is done in which workers compute; counted, for tiles of 512 px, overlap 128, 7 classes:"
)

# Steps of whole tile rows that two regions share evenly; as high as makes the border between them cost 2.8 %.
HIGH, WIDE = 13_824, 2048


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """Large enough that start-up does not count for much."""
    sizes, height, width = args.sizes, *((1024, 1024) if args.quick else (HIGH, WIDE))
    model, tiny = make_network(args.folder, "synthetic", sizes), sizes.tile - sizes.overlap
    scene = make_scene(args.folder, "synthetic", sizes, height, width)
    one = make_scene(args.folder, "synthetic", sizes, tiny, tiny)
    found: dict[str, Any] = {}
    for backend, ways in BACKENDS.items():
        say(f"speed: {backend}")
        options = [*_tiles(args), "--backend", backend]
        predict(one, model / "model.safetensors", args.folder / "scaling.tif", options, args.folder / "cache")
        runs = {way: [*options, *WAYS[way]] for way in ways}
        repeat = args.repeat if backend == "openvino" else max(1, args.repeat - 1)
        found[backend] = in_turns(
            runs, scene, model / "model.safetensors", args.folder, args.folder / "cache", repeat
        )  # fmt: skip
    say("speed: from one scene to the next")
    gap = between(one, 4 if args.quick else 16, model / "cheap.safetensors", args.folder, args.folder / "cache")
    return {
        "backends": found, "height": height, "width": width, "tile": sizes.tile, "overlap": sizes.overlap,
        "between": gap, "cores": len(cores_here()),
    }  # fmt: skip


def small(args: argparse.Namespace) -> dict[str, Any]:
    """Too small for a second worker."""
    model = make_network(args.folder, "synthetic", args.sizes) / "model.safetensors"
    found = {}
    for side in (512,) if args.quick else (1024, 2048):
        say(f"small: {side}")
        scene = make_scene(args.folder, "synthetic", args.sizes, side, side)
        runs = {way: [*_tiles(args), *WAYS[way]] for way in ("local", "2 workers")}
        found[f"{side}×{side}"] = in_turns(runs, scene, model, args.folder, args.folder / "cache", args.repeat)
    return found


def client(args: argparse.Namespace) -> list[dict[str, float]]:
    """Regions by the thousand; on a disk in memory where there is one: how fast a disk syncs is not asked."""
    memory = Path("/dev/shm")
    folder = memory if memory.is_dir() else args.folder
    found = []
    for parts, region_parts, workers in QUICK_LOADS if args.quick else LOADS:
        found.append(load(parts, region_parts, workers, folder))
        say(f"client: {found[-1]['tasks']} tasks, {parts} parts, {workers} workers: {found[-1]['seconds']:.1f} s")
    return found


def assembly(args: argparse.Namespace) -> dict[str, float]:
    """Of the map of a network, repeated."""
    labels = args.folder / "scaling-local.tif"
    if not labels.exists():
        model = make_network(args.folder, "synthetic", args.sizes) / "model.safetensors"
        scene = make_scene(args.folder, "synthetic", args.sizes, args.sizes.scene, args.sizes.scene)
        predict(scene, model, labels, _tiles(args), args.folder / "cache")
    say("assembly")
    height, width = (2048, 4096) if args.quick else (12_288, 33_333)
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="assembly-") as folder:
        job = {"map": str(labels), "height": height, "width": width, "folder": folder}
        script = Path(__file__).parent / "scaling" / "assembly.py"
        return run_measured([sys.executable, str(script), json.dumps(job)])


MEASURED: dict[str, Callable[[argparse.Namespace], Any]] = {
    "speed": speed, "small": small, "client": client, "assembly": assembly,
}  # fmt: skip


def _tiles(args: argparse.Namespace) -> list[str]:
    return ["--tile-size", str(args.sizes.tile), "--overlap", str(args.sizes.overlap)]


# --- what was found -------------------------------------------------------------------------------------------------


def performance_text(found: dict[str, Any]) -> str:
    """For performance.md."""
    made, pieces = found.get("speed"), []
    if made:
        note = "" if made["cores"] == CORES else " **One core only: this says nothing of two workers.**"
        pieces += [f"Scene {made['height']}×{made['width']}.{note}", results.speed_table(made)]
    counted = {size: [count(*size, workers) for workers in WORKERS] for size in PLANNED}
    pieces += [
        PLAN_TEXT,
        results.plan_table(counted),
    ]
    if "client" in found:
        pieces += ["Client and scheduler, without a network:", results.client_table(found["client"])]
    if "assembly" in found:
        pieces += [
            "Parts into the map, by the client when workers are done:",
            results.assembly_table(found["assembly"]),
        ]
    return "\n\n".join(pieces)


def show(found: dict[str, Any], docs: Path | None) -> None:
    """Print all that there is, and write what is asked for."""
    texts = {("performance.md", __file__): performance_text(found)}
    if "small" in found:
        texts["scale-out.md", __file__] = results.small_table(found["small"])
    if {"speed", "client", "assembly"} <= found.keys():
        texts["scale-out.md", country.__file__] = country.tables(Country(), Rates.of(found))
    for (name, script), text in texts.items():
        print(f"\n## {name}: {Path(script).name}\n\n{text}\n", flush=True)
        if docs is not None:
            write_between(docs / name, script, text)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--part",
        choices=(*MEASURED, "plan"),
        action="append",
        help="again for more; default is all; plan measures none",
    )
    parser.add_argument("--repeat", type=int, help="turns of each way (default: 3; quick: 1)")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="also put the tables into the files of this folder")


def main() -> None:
    """Run, keep, print."""
    args = parse(__doc__, _options)
    args.repeat = args.repeat or (1 if args.quick else 3)
    if args.quick and args.write:
        raise SystemExit("--quick measures nothing that belongs into the documentation; leave one of the two out")
    if len(cores_here()) < CORES:
        say("only one core may be used here: two workers share it, and nothing is learned of how fast they are")
    kept = args.folder / "dask_scaling.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    failed = []
    for name, measure in MEASURED.items():
        if name in (args.part or MEASURED):
            try:
                found[name] = measure(args)
            except RunError as error:
                failed.append(f"{name}: {error}")
                say(failed[-1])
                continue
            kept.write_text(json.dumps(found, indent=1))
    show(found, args.write)
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
