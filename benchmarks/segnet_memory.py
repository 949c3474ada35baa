"""SegNet's memory advantage: what lies between encoder and decoder, and the peak of a forward, under torch.

usage: python benchmarks/segnet_memory.py [--quick] [--side 512] [--repeat 3] [--write docs/models.md]

One SegNet, with the same weights, keeps for its decoder: the places of the maxima as torch gives them (int64), the same
in one byte each, four truth values for each maximum (what is exported to OpenVINO and ONNX Runtime), or the features
themselves, which are added to what is upsampled as a network with skips does. Beside it the U-Net, and SMP's U-Net on
SegNet's own encoder. Inference of one image in a fresh process.

"Kept" is the memory of all tensors that are alive when the last stage of the encoder has been pooled (for the U-Nets:
when their encoder is done), without weights, the image and what that stage hands on. "Peak" is how far the resident
memory of the process rises above what it was before the forward (VmHWM, reset before it), where the allocator gives
back at once what is freed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import markdown, parse, resident, run_measured, say, write_between
from torch import nn

from geoseg.models import create_model
from geoseg.models.segnet import SegNet
from geoseg.models.unpooling import Pooled, pool_by_indices, pool_dense

BANDS, CLASSES = 3, 7

# glibc keeps freed blocks of up to 32 MB for later and scatters new ones between them, which hides what is needed. From
# this size on every block is a mapping of its own that goes back when it is freed.
EAGER = ("env", "MALLOC_MMAP_THRESHOLD_=65536")


def pool_by_places(x: torch.Tensor) -> Pooled:
    """As ``pool_by_indices``, to the bit, for even sides; keeps one byte for each maximum: its place, 0 to 3."""
    corners = [x[..., row::2, col::2] for row in (0, 1) for col in (0, 1)]
    pooled = F.max_pool2d(x, 2)
    place = torch.full_like(pooled, 3, dtype=torch.uint8)
    for number in (2, 1, 0):  # of equals the first counts
        place.masked_fill_(corners[number] == pooled, number)
    size = x.shape

    def unpool(values: torch.Tensor) -> torch.Tensor:
        spread = values.new_empty(size)
        for number in range(4):
            row, col = divmod(number, 2)
            spread[..., row::2, col::2] = torch.where(place == number, values, 0.0)
        return spread

    return pooled, unpool


def pool_with_features(x: torch.Tensor) -> Pooled:
    """Maxima; their "unpooling" adds the features that were pooled to the enlarged values."""
    return F.max_pool2d(x, 2), lambda values: F.interpolate(values, size=x.shape[-2:]) + x


class Keeping(SegNet):
    """SegNet with a pooling of choice, that looks at what is alive at its narrowest.

    Args:
        pooling: The choice.
    """

    def __init__(self, pooling: Callable[[torch.Tensor], Pooled]) -> None:
        super().__init__(BANDS, CLASSES)
        self.pool = pooling  # type: ignore[method-assign]
        self.look: Callable[[torch.Tensor], None] | None = None

    def dropped(self, x: torch.Tensor, stage: int) -> torch.Tensor:
        """Called after each pooling, and on the way back."""
        if stage == len(self.encoder) - 1 and self.look is not None:
            self.look(x)
            self.look = None
        return x


WAYS: dict[str, Callable[[], nn.Module]] = {
    "SegNet, places as int64 (torch's)": lambda: Keeping(pool_by_indices),
    "SegNet, places as one byte": lambda: Keeping(pool_by_places),
    "SegNet, four truth values (exported)": lambda: Keeping(pool_dense),
    "SegNet, features instead": lambda: Keeping(pool_with_features),
    "`smp.unet` on VGG16-BN": lambda: create_model("smp.unet", bands=BANDS, classes=CLASSES, encoder="vgg16_bn"),
    "`unet`": lambda: create_model("unet", bands=BANDS, classes=CLASSES),
}


class Kept:
    """Counts the tensors that are alive besides those that were there before.

    Args:
        network: Its weights are not counted.
        image: Nor is this.
    """

    def __init__(self, network: nn.Module, image: torch.Tensor) -> None:
        state = [*network.parameters(), *network.buffers(), image]
        self._known = {tensor.untyped_storage().data_ptr() for tensor in state}
        self.bytes = 0

    def look(self, output: torch.Tensor) -> None:
        """Count, without the output of the encoder."""
        known = self._known | {output.untyped_storage().data_ptr()}
        storages = {}
        for found in gc.get_objects():
            if type(found) is torch.Tensor and found.untyped_storage().data_ptr() not in known:
                storages[found.untyped_storage().data_ptr()] = found.untyped_storage().nbytes()
        self.bytes = sum(storages.values())


def watch(network: nn.Module, kept: Kept) -> None:
    """Have it look when the encoder is done."""
    if isinstance(network, Keeping):
        network.look = kept.look
        return
    encoder: Any = network.get_submodule("encoder" if hasattr(network, "encoder") else "down")
    last = list(encoder)[-1] if isinstance(encoder, nn.ModuleList) else encoder

    def hook(_module: nn.Module, _args: object, output: Any) -> None:
        kept.look(output[-1] if isinstance(output, list | tuple) else output)

    last.register_forward_hook(hook)


def measure(way: str, side: int, dtype: torch.dtype) -> dict[str, Any]:
    """Kept and peak bytes of a forward."""
    torch.manual_seed(0)
    network = WAYS[way]().eval().to(dtype).to(memory_format=torch.channels_last)
    image = torch.randn(1, BANDS, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        network(image[..., :64, :64])  # loads what is loaded once
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # glibc: what was freed is given back, so that it cannot be used unseen
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again
        before = resident("self")
        network(image)
        peak = resident("self", "VmHWM") - before
        kept = Kept(network, image)
        watch(network, kept)  # in a second forward: looking takes time, and the list of all objects memory
        network(image)
    return {"kept": kept.bytes, "peak": peak}


def table_of(side: int, repeat: int, precisions: list[str]) -> str:
    """Measure all ways in turns, each time in a fresh process; megabytes a megapixel, medians."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _ in range(repeat):
        for way in WAYS:
            for precision in precisions:
                say(f"{way}, {precision}")
                command = [*EAGER, sys.executable, __file__, "--child", way, str(side), precision]
                found.setdefault((way, precision), []).append(run_measured(command))
    cells = [(p, key) for p in precisions for key in ("kept", "peak")]
    head = ["network", *(f"{key}, {p}, MB/Mpx" for p, key in cells)]
    rows = [[way, *(f"{_median(found[way, p], key) / side**2:.0f}" for p, key in cells)] for way in WAYS]
    return markdown(head, rows)


def _median(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--side", type=int, help="of the image, a multiple of 32 (default: 512; quick: 256)")
    parser.add_argument("--repeat", type=int, help="fresh processes for each figure (default: 3; quick: 1)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), action="append", help="default is both")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the table into this file")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)


def main() -> None:
    """Run and print."""
    args = parse(__doc__, _options)
    if args.child:
        way, side, precision = args.child
        print(json.dumps(measure(way, int(side), {"fp32": torch.float32, "bf16": torch.bfloat16}[precision])))
        return
    side, repeat = args.side or args.sizes.tile, args.repeat or (1 if args.quick else 3)
    text = table_of(side, repeat, args.precision or ["fp32", "bf16"])
    print(f"\n## Memory between encoder and decoder, {side}×{side} px\n\n{text}\n")
    if args.write:
        write_between(args.write, __file__, text)


if __name__ == "__main__":
    main()
