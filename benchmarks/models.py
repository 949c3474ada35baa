"""Every own network and five of SMP's under one recipe: what they learn in a fixed time, and what they cost.

usage: python benchmarks/models.py [--quick] [--seconds 200] [--batch 2] [--only NAME ...] [--stage NAME ...] [--again]
       python benchmarks/models.py --write docs/models.md

Each network is trained by ``geoseg.train`` on ``amazon_forest`` (Sentinel-2 RGB; 29 images of 512 px can be learned
from, 8 others judge) in a process of its own, with the settings that geoseg has where nothing else is said, in bfloat16
where the processor has it. As many steps are planned as fit into the time, by a rate that is measured first; the
learning rate goes through its one cycle over exactly these, and the weights of the last step are judged, so that the
validation images choose nothing. They are judged once more with statistics of batch normalisation that are computed
anew (``trainer.precise_bn``): after so few steps those that were gathered on the way are of other weights. Then a
process times tiles through geoseg's own predictors, the backends taking turns, and one each under torch and OpenVINO
maps the validation images, joined into one scene, for its peak memory.

After each of these the results are written to ``models.json`` in the folder: a run that was killed goes on there. The
stages can be asked for one by one: only ``speed`` needs the machine for itself.
``--write`` puts the table between the marks in a Markdown file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import GIB, RunError, markdown, parse, run_measured, say, write_between
from modelling.stages import FOREST, backends_here, join_images, memory, speed, statistics_anew, train

STAGES = ("training", "statistics", "speed", "memory")


@dataclass(frozen=True, slots=True)
class Network:
    """One row of the table.

    Attributes:
        name: In the table.
        architecture: For ``create_model``.
        options: Of the architecture.
        weights: First weights of the encoder.
    """

    name: str
    architecture: str
    options: dict[str, Any] = field(default_factory=dict)
    weights: str = "none"


def networks() -> list[Network]:
    """All own networks, the U-Net without padding too, and five of SMP's on one small encoder."""
    from geoseg.models import architectures

    own = [Network(name, name) for name in architectures() if not name.startswith("smp.")]
    own.insert(1 + [n.name for n in own].index("unet"), Network("unet-valid", "unet", {"padding": "valid"}))
    encoder = {"encoder": "tu-tf_efficientnet_lite0"}
    names = ("smp.unet", "smp.deeplabv3plus", "smp.fpn", "smp.pspnet", "smp.segformer")
    return own + [Network(name, name, encoder, "efficientnet-lite0") for name in names]


class Results:
    """What was measured so far, kept in a file.

    Args:
        path: The file.
        recipe: What all results have in common.
        again: Forget those that are there.

    Raises:
        SystemExit: The file was made by another recipe.
    """

    def __init__(self, path: Path, recipe: dict[str, Any], *, again: bool) -> None:
        self._path = path
        self.all: dict[str, Any] = {"recipe": recipe, "networks": {}}
        if path.exists() and not again:
            self.all = json.loads(path.read_text())
        if self.all["recipe"] != recipe:
            raise SystemExit(f"{path} is of another recipe, {self.all['recipe']}; give the same, or --again")

    def of(self, network: str) -> dict[str, Any]:
        """The stages that are done."""
        found: dict[str, Any] = self.all["networks"].setdefault(network, {})
        return found

    def model(self, network: str) -> str:
        """The file that was trained.

        Raises:
            RunError: It is not there yet.
        """
        if "training" not in self.of(network):
            raise RunError("it is not trained yet; leave --stage out")
        return str(self.of(network)["training"]["model"])

    def keep(self, network: str, stage: str, found: dict[str, Any]) -> None:
        """Write one down."""
        self.of(network)[stage] = found
        temporary = self._path.with_name(f"partial-{self._path.name}")
        temporary.write_text(json.dumps(self.all, indent=1))
        temporary.replace(self._path)


def measure(network: Network, results: Results, common: dict[str, Any]) -> None:
    """What is not there yet of a network.

    Raises:
        RunError: A stage came to nothing.
    """
    job = {
        **common, "name": network.name, "network": {
            "architecture": network.architecture, "options": network.options, "encoder_weights": network.weights,
        },
    }  # fmt: skip
    for stage in job["stages"]:
        if stage in results.of(network.name):
            continue
        if stage != "training":
            job["model"] = results.model(network.name)
        say(f"--- {network.name}: {stage}")
        found = memory(job) if stage == "memory" else _in_a_process(stage, job)
        results.keep(network.name, stage, found)
        say(json.dumps(found))


def _in_a_process(stage: str, job: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", stage, json.dumps(job)]
    return run_measured(command, timeout=10 * job["seconds"] + 1800)


def job_of(args: argparse.Namespace) -> dict[str, Any]:
    """What is the same for all networks."""
    backends, images = backends_here(), 1 if args.quick else None
    return {
        "seconds": args.seconds or (5 if args.quick else 200), "batch": args.batch or 2,
        "images": images, "precision": list(backends.values())[-1][1],
        "scene": str(join_images(args.folder, images)), "tile": args.sizes.tile, "folder": str(args.folder),
        "runs": str(args.folder / "models"), "cache": os.environ["GEOSEG_CACHE"],
        "backends": backends, "stages": args.stage or list(STAGES),
    }  # fmt: skip


def table_of(found: dict[str, Any]) -> str:
    """Markdown of the networks that are trained, in the order of :func:`networks`; what is not measured stays empty."""
    backends = list(found["recipe"]["backends"])
    head = [
        "network", "parameters", "steps", "mIoU", "boundary F1", "mIoU, precise BN", "boundary F1, precise BN",
        *(f"{name}, Mpx/s" for name in backends), *(f"peak, {name}, GiB" for name in (backends[0], backends[-1])),
    ]  # fmt: skip
    done = {name: row for name, row in found["networks"].items() if "training" in row}
    return markdown(head, [_row(n.name, done[n.name], backends) for n in networks() if n.name in done])


def _row(name: str, found: dict[str, Any], backends: list[str]) -> list[object]:
    trained, rates, peaks = found["training"], _part(found, "speed", "mpx_s"), _part(found, "memory", "peak")
    judged = [
        f"{stage[score]:.3f}" if score in stage else None
        for stage in (trained, found.get("statistics", {})) for score in ("mean_iou", "boundary_f1")
    ]  # fmt: skip
    return [
        f"`{name}`", f"{trained['parameters'] / 1e6:.2f} M", trained["steps"], *judged,
        *(rates.get(backend) for backend in backends),
        *(f"{peaks[name] / GIB:.2f}" if name in peaks else None for name in (backends[0], backends[-1])),
    ]  # fmt: skip


def _part(found: dict[str, Any], stage: str, name: str) -> dict[str, Any]:
    part: dict[str, Any] = found.get(stage, {}).get(name, {})
    return part


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, help="of learning for each network (default: 200; quick: 5)")
    parser.add_argument("--batch", type=int, help="chips a step (default: 2)")
    parser.add_argument("--only", action="append", help="a network by its name in the table; again for more")
    parser.add_argument("--stage", action="append", choices=STAGES, help="again for more (default: all)")
    parser.add_argument("--again", action="store_true", help="start over instead of going on")
    parser.add_argument("--write", type=Path, metavar="FILE", help="measure nothing; put the table into this file")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)


def main() -> None:
    """Run, or write the table."""
    args = parse(__doc__, _options)
    path = args.folder / "models.json"
    if args.child:
        stage, job = args.child
        print(json.dumps({"training": train, "statistics": statistics_anew, "speed": speed}[stage](json.loads(job))))
    elif args.write:
        write_between(args.write, __file__, table_of(json.loads(path.read_text())))
    else:
        run_all(args, path)


def run_all(args: argparse.Namespace, path: Path) -> None:
    """Measure what is not there yet, and print the table.

    Raises:
        SystemExit: A network is unknown or failed, or the imagery is not there.
    """
    if not FOREST.is_dir():
        raise SystemExit(f"there is no {FOREST}")
    chosen = [network for network in networks() if not args.only or network.name in args.only]
    if len(chosen) < len(args.only or ()):
        raise SystemExit(f"--only takes {', '.join(n.name for n in networks())}")
    os.environ["GEOSEG_CACHE"] = str(args.folder / "cache")
    job = job_of(args)
    recipe = {key: job[key] for key in ("seconds", "batch", "images", "precision", "tile", "backends")}
    results = Results(path, json.loads(json.dumps(recipe)), again=args.again)
    say(f"about {len(chosen) * (2 * job['seconds'] + 60) / 60:.0f} minutes")
    failed = []
    for network in chosen:
        try:
            measure(network, results, job)
        except RunError as error:
            say(f"{network.name}: {error}")
            failed.append(network.name)
    print(f"\n## {job['seconds']:g} s of learning each, batches of {job['batch']}\n\n{table_of(results.all)}\n")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
