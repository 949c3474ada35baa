"""What feeds a training and what a training takes: chips a second, from files to steps.

usage: python benchmarks/training.py [--quick] [--part loader|step|together ...] [--device auto|cpu|cuda]
                                     [--repeat N] [--threads N]

Loader: batches alone, from decoded sheets, for sources as GeoTIFF with compressed blocks, GeoTIFF in uncompressed
strips, and PNG; before that, the time to read and decode each of them, and how often each pixel was read.

Step: a network's training step alone, on a batch that is there already. Together: both, one behind the other in
threads, against the slower one alone; in turns in one process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import parse, say, table
from scenes import make_base

PARTS = ("loader", "step", "together")
KINDS = ("compressed", "striped", "png")
GOAL = 0.9
"""Share of the slower one's rate that both together are to reach."""

CHIP, BATCH = 256, 8
NETWORK = "smp.unet", {"encoder": "resnet18"}
CLASSES = 7


# --- files ----------------------------------------------------------------------------------------------------------


def make_files(folder: Path, kind: str, side: int) -> tuple[Path, Path]:
    """Folders of images and labels: the quarters of a base scene."""
    images, labels = (folder / f"training-{kind}-{side}" / name for name in ("images", "labels"))
    if labels.is_dir():
        return images, labels
    with np.load(make_base(folder, "synthetic", side)) as base:
        pixels, ids = base["pixels"], base["labels"]
    images.mkdir(parents=True, exist_ok=True)
    half = side // 2
    planes = labels.with_name("partial")
    planes.mkdir(exist_ok=True)
    for number in range(4):
        row, col = (n * half for n in divmod(number, 2))
        part = np.s_[..., row : row + half, col : col + half]
        name = f"{number}.{'png' if kind == 'png' else 'tif'}"
        write(images / name, pixels[part], kind, row, col)
        write(planes / name, ids[None][part], kind, row, col)
    planes.rename(labels)
    return images, labels


def write(path: Path, values: Any, kind: str, row: int, col: int) -> None:
    """One image, as ``kind`` says."""
    if kind == "png":
        from PIL import Image

        Image.fromarray(np.moveaxis(values, 0, -1).squeeze()).save(path)
        return
    import rasterio
    from scenes import GRID

    form: dict[str, Any] = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    crs, transform = GRID
    with rasterio.open(
        path, "w", driver="GTiff", count=len(values), height=values.shape[1], width=values.shape[2], dtype="uint8",
        crs=crs, transform=transform @ transform.translation(col, row), **(form if kind == "compressed" else {}),
    ) as file:  # fmt: skip
        file.write(values)


# --- loader, step, together -----------------------------------------------------------------------------------------


class Counting:
    """A source that counts the pixels that are read of it."""

    def __init__(self, source: Any) -> None:
        self._source, self.pixels = source, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, sheet: int, window: Any) -> Any:
        """As the source does."""
        self.pixels += window.height * window.width
        return self._source.read(sheet, window)


def open_batches(
    folder: Path, kind: str, args: argparse.Namespace, cache: str = "ram"
) -> tuple[Any, Any, list[object]]:
    """Batches of training chips, their store, and what it took to fill it: Mpx/s, reads a pixel."""
    from geoseg.config.training import DataConfig, SplitConfig
    from geoseg.sources.chips import ChipSampler, Store, TrainingBatches
    from geoseg.sources.opening import open_source
    from geoseg.sources.splits import make_split
    from geoseg.sources.surveys import survey

    images, labels = make_files(folder, kind, args.sizes.base)
    legend = {number: f"class {number}" for number in range(1, CLASSES + 1)}
    source = Counting(open_source(DataConfig(images=(str(images),), labels=(str(labels),), legend=legend)))
    store = Store(source, cache)
    begin = time.perf_counter()
    found = survey(source, store.write)
    seconds = time.perf_counter() - begin
    pixels = sum(sheet.height * sheet.width for sheet in source.sheets)
    split = make_split(source, found, SplitConfig(by="none"), CHIP)
    sampler = ChipSampler(store, split, found, size=CHIP)
    count = BATCH * (16 if args.quick else 64)
    batches = TrainingBatches(store, sampler, batch=BATCH, per_epoch=count, threads=args.threads)
    return batches, store, [pixels / 1e6 / seconds, source.pixels / pixels]


def rate(batches: Iterable[Any], use: Any = None) -> float:
    """Chips a second from the first batch to the last, the first not counted."""
    begin, chips = 0.0, 0
    for batch in batches:
        if use is not None:
            use(batch)
        if begin:
            chips += len(batch.indices)
        else:
            begin = time.perf_counter()
    return chips / (time.perf_counter() - begin)


def loader(args: argparse.Namespace) -> None:
    """Chips a second without a step."""
    rows: list[list[object]] = []
    for kind in KINDS:
        for cache in ("ram", "disk", "none"):
            say(f"loader: {kind}, {cache}")
            batches, store, filled = open_batches(args.folder, kind, args, cache)
            with store:
                rows.append([kind, cache, *filled, round(statistics.median(rate(batches) for _ in range(args.repeat)))])
    print(f"\n## The loader alone: chips of {CHIP} px, batches of {BATCH}, {args.threads} threads")
    table(["source", "kept in", "filled at Mpx/s", "reads a pixel", "chips/s"], rows)


class Step:
    """A training step as ``geoseg.train`` makes it, without Lightning around it."""

    def __init__(self, device: str, precision: str) -> None:
        import torch

        from geoseg.config.training import AugmentationConfig
        from geoseg.models import create_model
        from geoseg.normalization import BandStats
        from geoseg.training import build_loss
        from geoseg.training.augmentation import Augmenter

        architecture, options = NETWORK
        self.device = device
        self._autocast = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
        model = create_model(architecture, bands=3, classes=CLASSES, **options)
        self._model = model.to(device, memory_format=torch.channels_last).train()
        self._stats = BandStats((110.0,) * 3, (40.0,) * 3)
        self._augment = Augmenter(AugmentationConfig())
        self._random = torch.Generator(device)
        self._loss = build_loss("ce+dice").to(device)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-3)

    def __call__(self, batch: Any) -> None:
        """One step, to its end."""
        import torch

        from geoseg.training.normalizing import normalize_batch

        batch = batch.to(self.device)
        pixels = normalize_batch(batch.pixels, batch.present, self._stats)
        there = torch.ones_like(pixels[:, :1], dtype=torch.bool) if batch.present is None else batch.present
        pixels, _, indices = self._augment(pixels, there, batch.indices.long(), self._random)
        with self._autocast:
            logits = self._model(pixels.contiguous(memory_format=torch.channels_last))
        self._optimizer.zero_grad()
        self._loss(logits.float(), indices).backward()
        self._optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()


def together(args: argparse.Namespace) -> None:
    """The step alone, and with the loader beside it."""
    rows: list[list[object]] = []
    steps = 4 if args.quick else 12
    kinds = KINDS if "together" in args.part else KINDS[:1]
    for precision in args.precision or ("fp32", "bf16"):
        step = Step(args.device, precision)
        for kind in kinds:
            say(f"together: {precision}, {kind}")
            batches, store, _ = open_batches(args.folder, kind, args)
            with store:
                rows.extend(_turns(batches, step, steps, [precision, kind], args))
    print(f"\n## Loader and step: {NETWORK[0]} {NETWORK[1]['encoder']}, {CHIP} px, batches of {BATCH}, {args.device}")
    table(["precision", "source", "loader", "step", "together", "share of the slower", "goal"], rows)


def _turns(
    batches: Any, step: Step, steps: int, head: list[object], args: argparse.Namespace
) -> Iterator[list[object]]:
    found = []
    first = next(iter(batches))
    for _ in range(args.repeat):
        alone, fed = rate(batches), rate([first] * steps, step)
        both = rate(batches.batches(0, len(batches) - steps), step) if "together" in args.part else None
        found.append((round(alone), fed, both, both and both / min(alone, fed)))
    best = sorted(found, key=lambda row: row[3] or row[1])[len(found) // 2]
    yield [*head, *best, GOAL]


# --- command line ---------------------------------------------------------------------------------------------------


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", choices=PARTS, action="append", help="again for more; default is all")
    parser.add_argument("--precision", choices=("fp32", "bf16"), action="append")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)


def main() -> None:
    """Run and print."""
    args = parse(__doc__, _options)
    if args.device == "auto":
        import torch

        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    args.part = args.part or list(PARTS)
    if "loader" in args.part:
        loader(args)
    if {"step", "together"} & set(args.part):
        together(args)


if __name__ == "__main__":
    main()
