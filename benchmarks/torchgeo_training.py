"""``geoseg.train`` against torchgeo's own training, on the same images and the same network.

usage: python benchmarks/torchgeo_training.py [--quick] [--device auto|cpu|cuda] [--repeat N] [--threads N]

torchgeo: its ``LoveDADataModule`` and ``SemanticSegmentationTask`` under Lightning, as its documentation has it, but
without the task's schedule, which asks for a validation an epoch. Both read synthetic images in the folders of LoveDA,
whole, in batches of two, flip them at random, and minimise the cross-entropy in fp32 with AdamW. Each run is a process
of its own, in turns. Timed from the start of the second step to the start of the last, over all epochs: what happens
between epochs is part of it, validation is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RunError, parse, run_measured, say, table
from scenes import make_base

NETWORK = "smp.unet", {"encoder": "resnet18"}
CLASSES = 7
BATCH = 2


def make_loveda(folder: Path, count: int, side: int) -> Path:
    """Synthetic images in the folders of LoveDA's training and validation splits, ``count`` in each."""
    from PIL import Image

    root = folder / f"training-loveda-{count}-{side}"
    if root.is_dir():
        return root
    with np.load(make_base(folder, "synthetic", 1280)) as base:
        pixels, ids = base["pixels"], base["labels"]
    partial = root.with_name(f"partial-{root.name}")
    for split, area, number in ((s, a, n) for s in ("Train", "Val") for a in ("Rural", "Urban") for n in range(count)):
        row, col = (64 * n for n in divmod(number, 4))
        for name, values in (("images_png", np.moveaxis(pixels, 0, -1)), ("masks_png", ids)):
            target = partial / split / area / name
            target.mkdir(parents=True, exist_ok=True)
            image = np.ascontiguousarray(values[row : row + side, col : col + side])
            Image.fromarray(image).save(target / f"{number}.png")
    partial.rename(root)
    return root


class Watch:
    """When steps began."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def look(self) -> None:
        """A step begins."""
        self.times.append(time.perf_counter())

    def images(self) -> float:
        """Images a second, without the first step."""
        return BATCH * (len(self.times) - 2) / (self.times[-1] - self.times[1])


def train_geoseg(job: dict[str, Any], watch: Watch) -> None:
    """Through the public function."""
    from geoseg.config.training import TrainingConfig
    from geoseg.training.task import SegmentationTask
    from geoseg.training.workflow import train

    step = SegmentationTask.training_step

    def training_step(self: Any, *given: Any, **named: Any) -> Any:
        watch.look()
        return step(self, *given, **named)

    SegmentationTask.training_step = training_step
    architecture, options = NETWORK
    config = TrainingConfig.model_validate({
        "name": "benchmark",
        "data": {"dataset": "loveda", "data_dir": job["root"]},
        "split": {"by": "dataset"},
        "model": {"architecture": architecture, "options": options},
        "chips": {"size": job["side"], "batch": BATCH, "per_epoch": job["images"], "threads": max(1, job["workers"])},
        "augmentation": {"right_angles": False, "brightness": 0.0, "contrast": 0.0},
        "loss": {"expression": "ce"},
        "trainer": {
            "epochs": job["epochs"], "validate_every": job["epochs"], "precision": "fp32", "deterministic": False,
            "accelerator": "gpu" if job["device"] == "cuda" else "cpu", "devices": 1, "clip": 0.0,
        },
    })  # fmt: skip
    train(config, runs=Path(job["folder"]) / "runs", overwrite=True)


def train_torchgeo(job: dict[str, Any], watch: Watch) -> None:
    """As torchgeo's documentation has it."""
    from lightning.pytorch import Callback, Trainer
    from torchgeo.datamodules import LoveDADataModule
    from torchgeo.trainers import SemanticSegmentationTask

    class Look(Callback):  # type: ignore[misc]
        def on_train_batch_start(self, *_: Any) -> None:
            watch.look()

    class Task(SemanticSegmentationTask):  # type: ignore[misc]
        """Without the schedule, which asks for a validation after each epoch."""

        def configure_optimizers(self) -> Any:
            return super().configure_optimizers()["optimizer"]

    module = LoveDADataModule(root=job["root"], batch_size=BATCH, num_workers=job["workers"])
    task = Task(
        model="unet", backbone=NETWORK[1]["encoder"], in_channels=3, task="multiclass", num_classes=CLASSES + 1,
        loss="ce", ignore_index=0,
    )  # fmt: skip
    trainer = Trainer(
        max_epochs=job["epochs"], check_val_every_n_epoch=job["epochs"], limit_val_batches=1, num_sanity_val_steps=0,
        logger=False, devices=1, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Look()], accelerator="gpu" if job["device"] == "cuda" else "cpu", precision="32-true",
        default_root_dir=job["folder"],
    )  # fmt: skip
    trainer.fit(task, datamodule=module)


def child(job: dict[str, Any]) -> None:
    """One training; prints its rate."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    watch = Watch()
    (train_geoseg if job["who"] == "geoseg" else train_torchgeo)(job, watch)
    print(json.dumps({"images": watch.images(), "steps": len(watch.times)}))


def compare(args: argparse.Namespace) -> None:
    """All of them, in turns."""
    count, side, epochs = (4, 256, 2) if args.quick else (8, 512, 3)
    root = make_loveda(args.folder, count, side)
    job = {
        "root": str(root), "side": side, "images": 2 * count, "epochs": epochs, "folder": str(args.folder),
        "device": args.device,
    }  # fmt: skip
    ways = {
        "geoseg": ("geoseg", args.threads),
        f"torchgeo, {args.threads} workers": ("torchgeo", args.threads),
        "torchgeo, no workers": ("torchgeo", 0),
    }
    found: dict[str, list[float]] = {}
    for _ in range(args.repeat):
        for name, (who, workers) in ways.items():
            try:
                given = json.dumps({**job, "who": who, "workers": workers})
                done = run_measured([sys.executable, __file__, "--child", given], timeout=1800)
            except RunError as error:
                say(f"{name}: {error}")
                continue
            say(f"{name}: {done['images']:.3g} images/s in {done['steps']} steps")
            found.setdefault(name, []).append(done["images"])
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    best = max((rate for name, rate in medians.items() if name != "geoseg"), default=None)
    print(f"\n## geoseg.train and torchgeo: {2 * count} images of {side} px, {args.device}, fp32, batches of {BATCH}")
    table(["training", "images/s", "× the faster torchgeo"], [[n, r, best and r / best] for n, r in medians.items()])


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)


def main() -> None:
    """Run and print."""
    args = parse(__doc__, _options)
    if args.child:
        child(json.loads(args.child))
        return
    if args.device == "auto":
        import torch

        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    compare(args)


if __name__ == "__main__":
    main()
