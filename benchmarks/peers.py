"""geoseg against its peers: the same network, the same scene, each in a process and an environment of its own.

usage: python benchmarks/peers.py [--quick] [--part speed|agreement|memory] [--only NAME ...] [--repeat N]

The first run installs the peers (about 10 GB, from PyPI only) and trains the network. A peer that cannot be installed
or fails is listed with the reason.

Rules. One network for all: a resnet34 U-Net of SMP, 7 classes, raw pixels in, logits out, the weights from one file.
One scene: uint8 RGB, tiled deflate, every pixel valid. Everyone writes one band of class indices. Tiles of 512 px with
128 px overlap, where the peer lets one choose. What an adapter adds (reading and writing for those that do neither,
the choice of the class) is written to be fast. torch runs on all cores, batch 1, which is fastest there; the converted
network under the peers has two streams and gets batches of 4. Seconds are those of the call, without imports and
loading, but for geoseg, which loads its network inside the call. The smallest of the repetitions counts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from common import GIB, RunError, Sizes, load_file_module, parse, run_measured, say, table
from environments import ROOT, make_environment, version_of
from scenes import imageries, make_network, make_scene

HERE = Path(__file__).resolve().parent / "peers"
PARTS = ("speed", "agreement", "memory")
PEERS = ("geoai", "terratorch", "raster_vision", "geo_inference", "monai")
BATCH = {"torch": 1, "openvino": 4, "cheap": 1}

# Pixels on either side of a tile border that count as the border, and along the scene's edge.
SEAM, EDGE = 16, 64

Labels = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs adapters.

    Attributes:
        folder: Of scenes, networks and outputs.
        root: Of the environments.
        python: That the environments are made with.
        sizes: Tile and overlap.
    """

    folder: Path
    root: Path
    python: str
    sizes: Sizes

    def interpreter(self, name: str) -> str:
        """The Python that an adapter runs under; installs what it needs."""
        packages = adapter(name).PACKAGES
        if not packages:
            return sys.executable
        return str(make_environment(self.root, name, packages, self.python))

    def run(self, name: str, case: str, kind: str, scene: Path, network: Path) -> tuple[dict[str, Any], Path]:
        """Seconds and peak of one run, and the raster it wrote; the result is also added to ``peers.jsonl``."""
        interpreter = self.interpreter(name)
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        for path in self.folder.glob(f"labels-{name}*"):  # with what lies beside a raster
            path.unlink()
        output = self.folder / f"labels-{name}.tif"
        job = {
            "adapter": str(HERE / f"{name}.py"), "case": case, "kind": kind, "scene": str(scene), "output": str(output),
            "network": str(network), "work": str(work), "tile": self.sizes.tile, "overlap": self.sizes.overlap,
            "batch": BATCH[kind],
        }  # fmt: skip
        result = run_measured([interpreter, "-P", str(HERE / "harness.py"), json.dumps(job)], timeout=1200)
        if not output.exists():
            raise RunError("wrote no raster")
        with (self.folder / "peers.jsonl").open("a") as file:
            file.write(json.dumps({"peer": name, "case": case, "kind": kind, "scene": scene.name, **result}) + "\n")
        return result, output


def adapter(name: str) -> Any:
    """An adapter's module."""
    return load_file_module(HERE / f"{name}.py")


def cases(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Adapter and way of predicting, geoseg's first."""
    for name in ("geoseg", *names):
        yield from ((name, case) for case in adapter(name).CASES)


def title(name: str, case: str) -> str:
    """How a row of a table begins."""
    return f"{name.replace('_', '-')}, {case}"


# --- speed ----------------------------------------------------------------------------------------------------------


def speed(runner: Runner, names: Sequence[str], repeat: int) -> None:
    """Seconds and peak memory on one scene, the network in torch and converted."""
    side = runner.sizes.scene
    scene = make_scene(runner.folder, "synthetic", runner.sizes, side, side)
    network = make_network(runner.folder, "synthetic", runner.sizes)
    print(f"\n## Speed: {side}×{side} uint8 RGB, tiles of {runner.sizes.tile} px, overlap {runner.sizes.overlap}")
    rows: list[list[object]] = []
    for name, case in cases(names):
        for kind in ("torch",) if name == "geoseg" else ("torch", "openvino"):
            network_name = case if name == "geoseg" else {"torch": "torch fp32", "openvino": "OpenVINO bf16"}[kind]
            seconds, peak, why = _best(runner, name, case, kind, scene, network, repeat)
            mpx = None if seconds is None else side * side / 1e6 / seconds
            rows.append([title(name, case), network_name, seconds, mpx, peak, why])
    table(["what", "network", "s", "Mpx/s", "peak, GiB", "note"], rows)


def _best(
    runner: Runner, name: str, case: str, kind: str, scene: Path, network: Path, repeat: int
) -> tuple[float | None, float | None, str]:
    """Smallest seconds, largest peak in GiB, and why there are none."""
    results = []
    for _ in range(repeat):
        try:
            result, _ = runner.run(name, case, kind, scene, network)
        except RunError as error:
            say(f"{title(name, case)}, {kind}: {error}")
            return None, None, str(error)
        say(f"{title(name, case)}, {kind}: {result['seconds']:.2f} s, {result['peak'] / GIB:.2f} GiB")
        results.append(result)
    return min(r["seconds"] for r in results), max(r["peak"] for r in results) / GIB, ""


# --- memory ---------------------------------------------------------------------------------------------------------


def memory(runner: Runner, names: Sequence[str], sides: Sequence[int]) -> None:
    """Bytes of peak memory for each pixel more, with next to no network.

    Args:
        runner: See there.
        names: Of the peers.
        sides: Side of the small scene, then of large ones in the order they are tried: the next where one is too large.
    """
    network = make_network(runner.folder, "synthetic", runner.sizes)
    print(f"\n## Memory for a pixel more: a large scene against {sides[0]}×{sides[0]}, a network of next to no work")
    rows: list[list[object]] = []
    for name, case in cases(names):
        if name == "geoseg" and case != "auto":
            continue
        rows.append([title(name, case), *_per_pixel(runner, name, case, network, sides)])
    table(["what", "peak of the small one, GiB", "large", "peak, GiB", "bytes a pixel", "note"], rows)


def _per_pixel(runner: Runner, name: str, case: str, network: Path, sides: Sequence[int]) -> list[object]:
    small: float | None = None
    notes = []
    for side in sides:
        scene = make_scene(runner.folder, "synthetic", runner.sizes, side, side)
        try:
            peak = runner.run(name, case, "cheap", scene, network)[0]["peak"]
        except RunError as error:
            say(f"{title(name, case)}, {side}: {error}")
            notes.append(f"{side}: {error}")
            if small is None:
                break
            continue
        say(f"{title(name, case)}, {side}: {peak / GIB:.2f} GiB")
        if small is not None:
            more = (peak - small) / (side**2 - sides[0] ** 2)
            return [small / GIB, f"{side}×{side}", peak / GIB, more, "; ".join(notes)]
        small = peak
    return [small and small / GIB, None, None, None, "; ".join(notes)]


# --- agreement ------------------------------------------------------------------------------------------------------


def agreement(runner: Runner, names: Sequence[str], side: int, around: int) -> None:
    """Share of labels that differ from those of the network applied to the whole scene at once.

    Args:
        runner: See there.
        names: Of the peers.
        side: Of the scene.
        around: Pixels of real surroundings for the second reference.
    """
    for imagery in imageries():
        offset = 2 * around
        scene = make_scene(runner.folder, imagery, runner.sizes, side, side, offset)
        wide = side + 2 * around
        surroundings = make_scene(runner.folder, imagery, runner.sizes, wide, wide, offset - around)
        network = make_network(runner.folder, imagery, runner.sizes)
        whole = _labels("whole", runner.run("whole", "whole", "torch", scene, network)[1])
        seen = _labels("whole", runner.run("whole", "whole", "torch", surroundings, network)[1])
        inner = seen[around : around + side, around : around + side]
        print(f"\n## Labels that differ from those of one forward of the whole scene, %: {side}×{side}, {imagery}")
        _compare(runner, names, scene, network, whole, inner)


def _compare(
    runner: Runner, names: Sequence[str], scene: Path, network: Path, whole: Labels, surrounded: Labels
) -> None:
    rows: list[list[object]] = []
    first: Labels | None = None
    for name, case in cases(names):
        try:
            labels = _labels(name, runner.run(name, case, "torch", scene, network)[1])
        except RunError as error:
            say(f"{title(name, case)}: {error}")
            rows.append([title(name, case), *[None] * 6, str(error)])
            continue
        if first is None and name == "geoseg":
            first = labels
        regions = _regions(runner.sizes, name, len(whole))
        compared = [(whole, where) for where in regions.values()] + [(surrounded, regions["edge"])]
        both = labels if first is None else first
        row = [f"{_differ(labels, r, where)} / {_differ(both, r, where)}" for r, where in compared]
        rows.append([title(name, case), *row, ""])
        say(f"{title(name, case)}: {row[0]} %")
    print("Each cell: of this one / of geoseg's first row on the same pixels. Only within a row are pixels the same.")
    head = [
        "what", "everywhere", "inside", "geoseg's tile borders", "its own tile borders", "scene's edge",
        "scene's edge, against a forward of a larger scene", "note",
    ]  # fmt: skip
    table(head, rows)


def _labels(name: str, path: Path) -> Labels:
    """Class indices; geoseg writes ids, which count from 1."""
    with rasterio.open(path) as file:
        labels: Labels = file.read(1)
    return labels - np.uint8(name == "geoseg")


def _regions(sizes: Sizes, name: str, side: int) -> dict[str, Flags]:
    """(H, W) flags: everywhere, inside, at geoseg's tile borders, at the peer's own, at the scene's edge."""
    edge = np.zeros((side, side), np.bool_)
    edge[:EDGE] = edge[-EDGE:] = edge[:, :EDGE] = edge[:, -EDGE:] = True
    ours, own = (
        _near(adapter(n).edges(side, sizes.tile, sizes.overlap), side) & ~edge for n in ("geoseg", name)
    )  # fmt: skip
    return {"all": np.ones_like(edge), "inside": ~(edge | ours | own), "ours": ours, "own": own, "edge": edge}


def _near(positions: Sequence[int], side: int) -> Flags:
    line = np.zeros(side, np.bool_)
    for position in positions:
        if 0 < position < side:
            line[max(0, position - SEAM) : position + SEAM] = True
    return line[:, None] | line[None, :]


def _differ(labels: Labels, reference: Labels, where: Flags) -> str:
    """Percent, or a dash where there is no such pixel."""
    return f"{100 * np.mean(labels[where] != reference[where]):.3f}" if where.any() else "–"


# --------------------------------------------------------------------------------------------------------------------


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", choices=PARTS, action="append", help="again for more; default is all")
    parser.add_argument("--only", choices=PEERS, action="append", help="again for more; default is all")
    parser.add_argument("--repeat", type=int, default=1, help="runs for the speed (default: %(default)s)")
    parser.add_argument("--environments", type=Path, default=ROOT, help="default: %(default)s")
    parser.add_argument("--python", default=sys.executable, help="that the environments are made with")


def main() -> None:
    """Run and print."""
    args = parse(__doc__, _options)
    names, parts = args.only or PEERS, args.part or PARTS
    runner = Runner(args.folder, args.environments, args.python, args.sizes)
    minutes = {"speed": (10, 15 * args.repeat), "agreement": (6, 15), "memory": (3, 15)}
    say(f"about {sum(minutes[part][not args.quick] for part in parts)} minutes, once all is installed and trained")
    rows = [_installed(runner, name) for name in names]
    print("# geoseg and its peers")
    table(["peer", "version", "note"], rows)
    names = [name for name, row in zip(names, rows, strict=True) if row[1]]
    if "speed" in parts:
        speed(runner, names, args.repeat)
    if "agreement" in parts:
        agreement(runner, names, *((768, 128) if args.quick else (2048, 256)))
    if "memory" in parts:
        memory(runner, names, (512, 2048) if args.quick else (2048, 12288, 8192))
    shutil.rmtree(args.folder / "work", ignore_errors=True)


def _installed(runner: Runner, name: str) -> list[object]:
    try:
        interpreter = runner.interpreter(name)
    except RunError as error:
        return [name, None, str(error)]
    package = adapter(name).PACKAGES[0]
    return [package, version_of(Path(interpreter), package), ""]


if __name__ == "__main__":
    main()
