"""What prediction costs beyond its network, and how long it takes to begin.

usage: python benchmarks/pipeline.py [--quick] [--part forward|start] [--precision fp32|bf16|int8 ...] [--repeat N]

Forward: ``geoseg.predict`` end to end, from the first tile to the finished outputs, against a pure forward of exactly
the same tiles, cut beforehand, with the same predictor, in turns in one process. The last ratio is that of the whole
call, which also opens the scene, loads the network anew and, for int8, compares its labels with fp32.

Start: from the start of a process to the first scores of a tile, and to the end of the prediction of a scene of one
tile, against a process that imports torch and torchgeo and loads the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RunError, parse, run_measured, say, table
from scenes import make_network, make_scene

if TYPE_CHECKING:
    from geoseg.predictors import Predictor, Tiles

PRECISIONS = ("fp32", "bf16", "int8")
LIMITS = {"fp32": 1.03, "bf16": 1.10, "int8": 1.20}
START_LIMIT = 1.5


# --- in the parent --------------------------------------------------------------------------------------------------


def forward(args: argparse.Namespace) -> None:
    """Seconds of both, and their ratio."""
    sizes = args.sizes
    scene = make_scene(args.folder, "synthetic", sizes, sizes.scene, sizes.scene)
    network = make_network(args.folder, "synthetic", sizes)
    rows: list[list[object]] = []
    for precision in args.precision or PRECISIONS:
        job = {
            "scene": str(scene), "model": str(network / "model.safetensors"), "precision": precision,
            "backend": args.backend, "tile": sizes.tile, "overlap": sizes.overlap, "repeat": args.repeat,
            "output": str(args.folder / "pipeline.tif"), "cache": str(args.folder / "cache"),
        }  # fmt: skip
        limit = LIMITS[precision]
        try:
            found = run_measured([sys.executable, __file__, "--child", json.dumps(job)], timeout=1800)
        except RunError as error:
            say(f"{precision}: {error}")
            rows.append([precision, *[None] * 6, limit, None, str(error)])
            continue
        middle = {name: statistics.median(found[name]) for name in ("forward", "predict", "call")}
        ratios = [p / f for p, f in zip(found["predict"], found["forward"], strict=True)]
        whole = [c / f for c, f in zip(found["call"], found["forward"], strict=True)]
        say(f"{precision}: {statistics.median(ratios):.3f} of {', '.join(f'{r:.3f}' for r in ratios)}")
        rows.append([
            precision, found["tiles"], *middle.values(), f"{statistics.median(ratios):.3f}",
            f"{min(ratios):.3f} – {max(ratios):.3f}", limit, f"{statistics.median(whole):.3f}", found["ran"],
        ])  # fmt: skip
    print(f"\n## End to end against a pure forward: {sizes.scene}×{sizes.scene} uint8 RGB, medians of {args.repeat}")
    head = [
        "precision", "tiles", "forward, s", "predict, s", "whole call, s", "predict / forward", "all ratios",
        "limit", "whole call / forward", "ran",
    ]  # fmt: skip
    table(head, rows)


LOAD = """
import sys, time
import torch, torchgeo{more}
import segmentation_models_pytorch as smp
network = smp.Unet("resnet34", encoder_weights=None, in_channels=3, classes=7)
network.load_state_dict(torch.load(sys.argv[1] + "/network.pt", weights_only=True))
print(time.monotonic())
"""

WHOLE = """
import sys, time
import geoseg
geoseg.predict(sys.argv[2], sys.argv[1] + "/model.safetensors", sys.argv[3], tile_size=int(sys.argv[4]), overwrite=True)
print(time.monotonic())
"""

FIRST = """
import json, sys, time
sys.path.insert(0, sys.argv[5])
import pipeline
predictor = pipeline.load(json.loads(sys.argv[6]))
tile = pipeline.cut(sys.argv[2], int(sys.argv[4]), 0, limit=1)[0]
predictor.submit(tile)()
print(time.monotonic())
"""


def start(args: argparse.Namespace) -> None:
    """Seconds from the start of a process."""
    sizes = args.sizes
    scene = make_scene(args.folder, "synthetic", sizes, sizes.tile - sizes.overlap, sizes.tile - sizes.overlap)
    network = make_network(args.folder, "synthetic", sizes)
    job = {
        "scene": str(scene), "model": str(network / "model.safetensors"), "precision": "auto", "backend": "auto",
        "tile": sizes.tile, "overlap": sizes.overlap, "cache": str(args.folder / "cache"),
    }  # fmt: skip
    arguments = [
        str(network), str(scene), str(args.folder / "start.tif"), str(sizes.tile), str(Path(__file__).parent),
        json.dumps(job),
    ]  # fmt: skip
    programs = {
        "import torch and torchgeo, load the weights": LOAD.format(more=""),
        "the same, and torchgeo's datasets and samplers": LOAD.format(more=", torchgeo.datasets, torchgeo.samplers"),
        "first scores of a tile": FIRST,
        "geoseg.predict of a scene of one tile, to its end": WHOLE,
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    reasons: dict[str, str] = {}
    for k in range(args.repeat + 1):
        for name, program in programs.items():
            try:
                took = _from_start(program, arguments, args.folder / "cache")
            except RunError as error:
                reasons[name] = str(error)
                continue
            if k:  # the first round fills the caches
                seconds[name].append(took)
    base = statistics.median(seconds["import torch and torchgeo, load the weights"])
    print(f"\n## Start-up: seconds from the start of a process, medians of {args.repeat}; limit {START_LIMIT} ×")
    rows: list[list[object]] = []
    for name, found in seconds.items():
        middle = statistics.median(found) if found else None
        rows.append([name, middle, f"{middle / base:.2f}" if middle else None, reasons.get(name)])
    table(["what", "s", "× importing and loading", "note"], rows)


def _from_start(program: str, arguments: Sequence[str], cache: Path) -> float:
    environment = os.environ | {"GEOSEG_CACHE": str(cache)}
    begin = time.monotonic()  # one clock for all processes
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise RunError(done.stderr.strip().splitlines()[-1][:300])
    return float(done.stdout.splitlines()[-1]) - begin


# --- in a process of its own ----------------------------------------------------------------------------------------


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Repetitions of both in turns: seconds of each, and what ran."""
    os.environ["GEOSEG_CACHE"] = job["cache"]
    tiles = cut(job["scene"], job["tile"], job["overlap"])
    found: dict[str, list[float]] = {"forward": [], "predict": [], "call": []}
    load(job).close()  # converts, compiles and calibrates once,
    _predict(job)  # and so does this, on tiles of its own choice
    for _ in range(job["repeat"]):
        ran = _forward_once(job, tiles, found)
        seconds, result = timed(lambda: _predict(job))
        found["call"].append(seconds)
        found["predict"].append(result.seconds)
        if result.backend.split(" on ")[0] != ran.split(" on ")[0]:
            raise RuntimeError(f"predict ran {result.backend}, the pure forward {ran}")
    return {**found, "tiles": len(tiles), "ran": ran}


def _predict(job: dict[str, Any]) -> Any:
    import geoseg

    return geoseg.predict(
        job["scene"], job["model"], job["output"], tile_size=job["tile"], overlap=job["overlap"],
        precision=job["precision"], backend=job["backend"], overwrite=True, resume=False,
    )  # fmt: skip


def _forward_once(job: dict[str, Any], tiles: Sequence[Tiles], found: dict[str, list[float]]) -> str:
    """Load, one tile to begin with, all tiles; says what ran."""
    predictor = load(job)
    predictor.submit(tiles[0])()
    found["forward"].append(timed(lambda: run(predictor, tiles))[0])
    predictor.close()
    return str(predictor.description)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what the call gave."""
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def cut(scene: str, tile: int, overlap: int, limit: int | None = None) -> list[Tiles]:
    """The tiles of a scene without no data as batches of one, mirrored at its edges as prediction does."""
    import numpy as np
    import rasterio

    from geoseg.predictors import Tiles
    from geoseg.tiling import TileGrid

    with rasterio.open(scene) as file:
        pixels = file.read()
    grid = TileGrid(*pixels.shape[1:], tile, overlap)
    places = [(r, c) for r in range(len(grid.rows)) for c in range(len(grid.cols))][:limit]
    present = np.ones((1, 1, tile, tile), np.bool_)
    return [
        Tiles(
            np.ascontiguousarray(pixels[:, grid.rows.mirrored(row)][:, :, grid.cols.mirrored(col)][None]),
            present,
            ((row, col),),
        )
        for row, col in places
    ]


def load(job: dict[str, Any]) -> Predictor:
    """The predictor that prediction would use."""
    from geoseg.models import file_hash, load_model, read_spec
    from geoseg.predictors import Loaded, NetworkOptions, load_predictor

    model = Path(job["model"])
    spec = read_spec(model)
    return load_predictor(
        [Loaded(lambda: load_model(model)[0], spec, spec.stats, file_hash(model))],
        NetworkOptions(backend=job["backend"], precision=job["precision"]),
        tile_size=job["tile"],
        dtype="uint8",
        sample_tiles=lambda n: _spread(job, n),
        cache=Path(job["cache"]),
    )


def _spread(job: dict[str, Any], n: int) -> list[Tiles]:
    tiles = cut(job["scene"], job["tile"], job["overlap"])
    return tiles[:: max(1, len(tiles) // n)][:n]


def run(predictor: Predictor, tiles: Sequence[Tiles]) -> None:
    """Every tile through the network, with as many under way as the predictor wants."""
    waiting: deque[Callable[[], object]] = deque()
    for tile in tiles:
        waiting.append(predictor.submit(tile))
        if len(waiting) > predictor.in_flight:
            waiting.popleft()()
    while waiting:
        waiting.popleft()()


# --------------------------------------------------------------------------------------------------------------------


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", choices=("forward", "start"), action="append", help="default is both")
    parser.add_argument("--precision", choices=PRECISIONS, action="append", help="again for more; default is all")
    parser.add_argument("--backend", default="auto", help="default: %(default)s")
    parser.add_argument("--repeat", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--child", help=argparse.SUPPRESS)


def main() -> None:
    """Run and print."""
    args = parse(__doc__, _options)
    if args.child:
        print(json.dumps(measure(json.loads(args.child))))
        return
    say(f"about {2 if args.quick else 6} minutes, once the network is trained")
    if "forward" in (args.part or ["forward"]):
        forward(args)
    if "start" in (args.part or ["start"]):
        start(args)


if __name__ == "__main__":
    main()
