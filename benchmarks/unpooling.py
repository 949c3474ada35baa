"""Unpooling in its exported form, by comparing and selecting, against the plain scatter by indices, by backend.

usage: python benchmarks/unpooling.py [--quick] [--tile 512] [--repeat 5] [--only NAME ...] [--write docs/models.md]

Both forms of one network with the same weights go through geoseg's own conversion and predictors, each in a process of
its own, one tile at a time as prediction submits them. Under torch the two are compared bit by bit first; every
converted network is compared with torch's by the conversion itself. "Ran" is what geoseg exports: the dense form under
OpenVINO and ONNX Runtime, indices under torch.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from common import RunError, markdown, parse, run_measured, say, write_between
from modelling.stages import backends_here

NETWORKS: dict[str, dict[str, Any]] = {
    "segnet": {}, "segnet-basic": {}, "enet": {}, "unet": {"upsampling": "unpool"},
}  # fmt: skip

CLASSES = 7


def measure(name: str, form: str, side: int, repeat: int, backends: dict[str, tuple[str, str]]) -> dict[str, float]:
    """Seconds a tile by backend, of one form."""
    import torch

    from geoseg.models import create_model
    from geoseg.predictors import conversion

    torch.manual_seed(0)
    network: Any = create_model(name, bands=3, classes=CLASSES, **NETWORKS[name]).eval()
    if form == "dense":
        _check_bits(network, side)
    # The private switch of the conversion, which otherwise never exports the scatter; under torch the other way round.
    forced = form == "scatter"
    if forced:
        vars(conversion)["_dense_unpooling"] = lambda _graph: contextlib.nullcontext()
    found = {}
    for backend, how in backends.items():
        network.dense_unpooling = form == "dense"
        found[backend] = _seconds(network, name, side, repeat, *how)
    return found


def _check_bits(network: Any, side: int) -> None:
    import torch

    image = torch.randn(1, 3, side - 1, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.dense_unpooling = False
        plain = network(image)
        network.dense_unpooling = True
        if not torch.equal(network(image), plain):
            raise SystemExit("the two forms differ under torch")


def _seconds(network: Any, name: str, side: int, repeat: int, backend: str, precision: str) -> float:
    """Median of tiles, one after the other."""
    import copy

    import numpy as np

    from geoseg.config import ModelSpec
    from geoseg.legend import Legend
    from geoseg.normalization import BandStats
    from geoseg.predictors import Loaded, NetworkOptions, Tiles, load_predictor

    legend = Legend.from_names(
        [f"class {n}" for n in range(CLASSES)], [f"#{40 + 30 * n:02x}8080" for n in range(CLASSES)]
    )
    spec = ModelSpec.model_validate({
        "name": name, "architecture": name, "options": NETWORKS[name], "bands": ("red", "green", "blue"),
        "classes": legend.to_records(), "mean": (110.0,) * 3, "std": (40.0,) * 3, "value_range": (0.0, 255.0),
        "dtype": "uint8", "tile_size": side, "stride_multiple": network.stride_multiple,
    })  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, side, side), np.uint8)
    tile = Tiles(pixels, np.ones((1, 1, side, side), np.bool_), ((0, 0),))
    stats = BandStats(spec.mean, spec.std)
    predictor = load_predictor(
        [Loaded(lambda: copy.deepcopy(network), spec, stats, "none")],
        NetworkOptions(backend=backend, precision=precision),  # type: ignore[arg-type]
        tile_size=side, dtype="uint8", sample_tiles=lambda _: [tile], cache=None,
    )  # fmt: skip
    predictor.submit(tile)()
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        predictor.submit(tile)()
        times.append(time.perf_counter() - begin)
    predictor.close()
    return statistics.median(times)


def table_of(names: list[str], side: int, repeat: int) -> str:
    """Both forms of all networks."""
    backends = backends_here()
    rows: list[list[object]] = []
    for name in names:
        found: dict[str, dict[str, float]] = {}
        for form in ("dense", "scatter"):
            say(f"{name}, {form}")
            command = [sys.executable, __file__, "--child", name, form, str(side), str(repeat), json.dumps(backends)]
            try:
                found[form] = run_measured(command)
            except RunError as error:
                say(f"{name}, {form}: {error}")
        for backend in backends:
            dense, scatter = (found.get(form, {}).get(backend) for form in ("dense", "scatter"))
            times = scatter / dense if scatter and dense else None
            rows.append([f"`{name}`", backend, dense, scatter, times, side**2 / 1e6 / dense if dense else None])
    head = ["network", "backend", "dense, s a tile", "scatter, s a tile", "scatter / dense", "dense, Mpx/s"]
    return markdown(head, rows)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tile", type=int, help="side (default: 512; quick: 128)")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", choices=tuple(NETWORKS), action="append", help="again for more; default is all")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the table into this file")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)


def main() -> None:
    """Run and print."""
    args = parse(__doc__, _options)
    if args.child:
        name, form, side, repeat, backends = args.child
        print(json.dumps(measure(name, form, int(side), int(repeat), json.loads(backends))))
        return
    side = args.tile or (128 if args.quick else 512)
    text = table_of(args.only or list(NETWORKS), side, args.repeat)
    print(f"\n## Unpooling, one tile of {side} px\n\n{text}\n")
    if args.write:
        write_between(args.write, __file__, text)


if __name__ == "__main__":
    main()
