"""Scenes and networks for the benchmarks: made once, then kept in the folder that ``--folder`` names."""

from __future__ import annotations

import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from common import DATA, Sizes, load_file_module, say
from rasterio.crs import CRS
from rasterio.windows import Window

LOVEDA_CLASSES = ("background", "building", "road", "water", "barren", "forest", "agriculture")

GRID = CRS.from_epsg(32633), Affine(0.5, 0, 412_000, 0, -0.5, 5_655_000)
"""Where every scene of the benchmarks lies."""


def imageries() -> tuple[str, ...]:
    """What scenes can be made of here: ``synthetic``, and ``real`` where the imagery is."""
    return ("synthetic", "real") if (DATA / "loveda").is_dir() else ("synthetic",)


def make_base(folder: Path, imagery: str, side: int) -> Path:
    """(3, H, W) pixels and (H, W) class ids 1..7 as ``.npz``, without no data and without the value 0.

    Nothing is 0 because some peers take 0 for "no data" even where the file names no such value, and all are to do the
    same work.
    """
    path = folder / f"base-{imagery}-{side}.npz"
    if not path.exists():
        pixels, labels = _synthetic(folder, side) if imagery == "synthetic" else _loveda()
        temporary = path.with_name(f"partial-{path.name}")
        np.savez(temporary, pixels=np.maximum(pixels, 1), labels=labels)
        temporary.replace(path)
    return path


def _synthetic(folder: Path, side: int) -> tuple[Any, Any]:
    """The middle of a synthetic scene: its collar without data is cut off."""
    import geoseg

    made = geoseg.make_scene(folder / "synthetic", height=side * 9 // 8, width=side * 9 // 8, overwrite=True)
    middle = Window(side // 16, side // 16, side, side)
    with rasterio.open(made.scene) as scene, rasterio.open(made.truth) as truth:
        pixels, labels = scene.read(window=middle), truth.read(1, window=middle)
    if not labels.all():
        raise RuntimeError("the collar of the synthetic scene reaches into its middle")
    return pixels, labels


def _loveda() -> tuple[Any, Any]:
    """Six LoveDA images as one of 2048×3072; the labels of those without are 255 = not to be learned."""
    images = sorted((DATA / "loveda" / "Train").rglob("images_png/*.png"))[:3]
    images += sorted((DATA / "loveda" / "Test").rglob("images_png/*.png"))[:3]
    pixels = [_read_png(path) for path in images]
    labels = [_loveda_labels(path) for path in images]
    rows = [np.concatenate(pixels[k : k + 3], axis=2) for k in (0, 3)]
    truth = [np.concatenate(labels[k : k + 3], axis=1) for k in (0, 3)]
    return np.concatenate(rows, axis=1), np.concatenate(truth, axis=0)


def _loveda_labels(image: Path) -> Any:
    path = image.parent.with_name("masks_png") / image.name
    if not path.exists():
        return np.full((1024, 1024), 255, np.uint8)
    labels = _read_png(path)[0]
    return np.where(labels == 0, 255, labels).astype(np.uint8)


def _read_png(path: Path) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read()


def make_scene(folder: Path, imagery: str, sizes: Sizes, height: int, width: int, offset: int = 0) -> Path:
    """A tiled uint8 RGB GeoTIFF of any size, cut from the base or mirrored out of it, with every pixel valid.

    Args:
        folder: Where it is kept.
        imagery: See :func:`imageries`.
        sizes: Of this run.
        height: Rows.
        width: Columns.
        offset: First row and column in the mirrored base.
    """
    path = folder / f"{imagery}-{height}x{width}-from-{offset}.tif"
    if path.exists():
        return path
    with np.load(make_base(folder, imagery, sizes.base)) as base:
        pixels = base["pixels"]
    rows, cols = (_mirrored(n, offset, side) for n, side in zip((height, width), pixels.shape[1:], strict=True))
    temporary = path.with_name(f"partial-{path.name}")
    with rasterio.open(temporary, "w", **profile(height, width, 3)) as file:
        for top in range(0, height, 1024):
            strip = pixels[:, rows[top : top + 1024]][:, :, cols]
            file.write(strip, window=Window(0, top, width, strip.shape[1]))
    temporary.replace(path)
    return path


def _mirrored(n: int, offset: int, side: int) -> Any:
    position = (np.arange(n) + offset) % (2 * side)
    return np.minimum(position, 2 * side - 1 - position)


def profile(height: int, width: int, bands: int, **more: Any) -> dict[str, Any]:
    """What rasterio needs to make a tiled GeoTIFF."""
    crs, transform = GRID
    return {
        "driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": "uint8", "crs": crs,
        "transform": transform, "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate",
        "bigtiff": "if_safer", "num_threads": 2, **more,
    }  # fmt: skip


def make_network(folder: Path, imagery: str, sizes: Sizes) -> Path:
    """A folder with one trained network in every form that the benchmarks need; made once, in a process of its own.

    ``model.safetensors`` (geoseg's), ``network.pt`` (state dict of the SMP U-Net), ``network.json`` (its scaling),
    ``network.xml`` (OpenVINO, raw pixels in, logits out), ``cheap.safetensors`` (geoseg's, next to no work).
    """
    target = folder / f"network-{imagery}"
    if not (target / "network.xml").exists():
        say(f"training a network on {imagery} imagery, {sizes.steps} steps; kept in {target}")
        start = time.perf_counter()
        target.mkdir(parents=True, exist_ok=True)
        base = make_base(folder, imagery, sizes.base)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # torch must not fill this process
            pool.submit(_train, base, target, sizes).result()
        say(f"trained in {time.perf_counter() - start:.0f} s")
    return target


def _train(base: Path, target: Path, sizes: Sizes) -> None:
    import torch

    from geoseg.legend import Legend
    from geoseg.models import create_model, save_model
    from geoseg.training import Sample, train_on_arrays

    with np.load(base) as arrays:
        sample = Sample(arrays["pixels"], arrays["labels"])
    colors = [f"#{40 + 30 * k:02x}{230 - 30 * k:02x}80" for k in range(7)]
    legend = Legend.from_names(list(LOVEDA_CLASSES), colors)
    trained = train_on_arrays(
        [sample], legend, "smp.unet", options={"encoder": "resnet34"}, steps=sizes.steps, batch=4,
        chip_size=sizes.tile // 2, progress=lambda done, total, loss: say(f"step {done} of {total}, loss {loss:.2f}"),
    )  # fmt: skip
    spec = trained.describe(name="benchmark", bands=("red", "green", "blue"), gsd=0.5)
    save_model(target / "model.safetensors", trained.model, spec, overwrite=True)
    options = {"width": 1, "depth": 1}
    cheap = create_model("unet", bands=3, classes=7, **options).eval()
    plain = spec.model_copy(update={"name": "cheap", "architecture": "unet", "options": options, "stride_multiple": 1})
    save_model(target / "cheap.safetensors", cheap, plain, overwrite=True)
    torch.save(trained.model.state_dict(), target / "network.pt")
    scaling = {"mean": trained.stats.mean, "std": trained.stats.std, "classes": len(legend)}
    (target / "network.json").write_text(json.dumps(scaling))
    _convert(target, sizes.tile)


def _convert(target: Path, tile: int) -> None:
    """The network as OpenVINO takes it, from the module that every peer runs."""
    import openvino
    import torch

    network = load_file_module(Path(__file__).parent / "peers" / "harness.py").load_network(target, "torch")
    example = torch.full((1, 3, tile, tile), 100.0)
    converted = openvino.convert_model(network, example_input=example, input=[1, 3, -1, -1])
    openvino.save_model(converted, target / "network.xml", compress_to_fp16=False)
