"""Networks without padding train: chips and tiles show what they eat, and are learned and judged as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from labelled import MemorySource
from own_networks import one_thread  # noqa: F401
from small_training import LEGEND, config, sheet, source, write_sheet

from geoseg import predict
from geoseg.metrics import confusion_matrix
from geoseg.models import read_spec
from geoseg.sources.chips import ChipSampler, Store, TrainingBatches, ValidationTiles
from geoseg.sources.splits import SheetSplit, Split
from geoseg.sources.surveys import survey
from geoseg.tiling import Context, TileGrid, Window, mirror
from geoseg.training.borders import beneath
from geoseg.training.fitting import train_on_arrays
from geoseg.training.runs import RunFolder
from geoseg.training.samples import Sample
from geoseg.training.workflow import train_on

CONTEXT = Context(8, 2, 0)
"""Of a U-Net of two levels."""

OPTIONS = {"width": 4, "depth": 2, "padding": "valid"}


def stored(given: MemorySource) -> Store:
    store = Store(given, "ram")
    survey(given, store.write)
    return store


def test_around_a_chip_the_sheet_is_shown_and_not_learned() -> None:
    given = source()
    store = Store(given, "ram")
    split = Split("none", tuple(SheetSplit("train", (s.window,), ()) for s in given.sheets))
    sampler = ChipSampler(store, split, survey(given, store.write), size=90)
    batch = TrainingBatches(store, sampler, batch=9, context=CONTEXT).batch(0, 0)
    assert batch.pixels.shape == (9, 2, 106, 106)
    for image, indices, (number, window) in zip(batch.pixels, batch.indices, batch.where, strict=True):
        rows, cols = ([mirror(p, 96) for p in range(n - 8, n + 98)] for n in (window.row_off, window.col_off))
        np.testing.assert_array_equal(image, sheet(number)[0][:, rows][:, :, cols])
        np.testing.assert_array_equal(indices[8:98, 8:98], store.indices(number, window))
        ring = indices.numpy().copy()
        ring[8:98, 8:98] = 255
        assert (ring == 255).all()
    store.close()


@pytest.mark.parametrize(("size", "overlap"), [(32, 0), (31, 7)])
def test_tiles_show_what_prediction_reads(size: int, overlap: int) -> None:
    given = source()
    windows = (Window(3, 5, 50, 61), Window(60, 0, 36, 40))
    split = Split("blocks", (SheetSplit("train", windows, windows), *(SheetSplit("train", (), ()),) * 2))
    pixels, _, truth = sheet(0)
    counted = np.zeros((96, 96), int)
    with stored(given) as store:
        for batch in ValidationTiles(store, split, tile_size=size, overlap=overlap, batch=3, context=CONTEXT):
            here = torch.arange(batch.pixels.shape[-1])
            assert batch.indices.shape[1:] == (size, size)
            for k, judged in enumerate(batch.tiles):
                outer = windows[judged.window]
                grid = TileGrid(outer.height, outer.width, size, overlap, CONTEXT)
                read = grid.input_window(judged.tile.row, judged.tile.col)
                rows = [mirror(int(p) + read.row_off + outer.row_off, 96) for p in here]
                cols = [mirror(int(p) + read.col_off + outer.col_off, 96) for p in here]
                np.testing.assert_array_equal(batch.pixels[k], pixels[:, rows][:, :, cols])
                core, own, tile = judged.core, judged.tile.core, judged.tile.window
                top, left = own.row_off - tile.row_off, own.col_off - tile.col_off
                inside = slice(core.row_off, core.row_end), slice(core.col_off, core.col_end)
                cut = slice(top, top + own.height), slice(left, left + own.width)
                np.testing.assert_array_equal(batch.indices[k][cut], truth[inside])
                counted[inside] += 1
            # What a network that eats and changes nothing else gives lies under the labels.
            maps = torch.from_numpy(np.stack([truth_of(batch.pixels[k]) for k in range(len(batch.pixels))]))
            eaten = batch.of_tiles(maps[..., 8:-8, 8:-8].contiguous())
            known = batch.indices != 255
            assert torch.equal(eaten[:, 0][known], batch.indices[known])
    expected = np.zeros((96, 96), int)
    for window in windows:
        expected[window.row_off : window.row_end, window.col_off : window.col_end] = 1
    np.testing.assert_array_equal(counted, expected)


def truth_of(pixels: torch.Tensor) -> np.ndarray:
    """(1, S, S) what the labels of these pixels are, found again by their first band."""
    shown, _, truth = sheet(0)
    keys = {(*map(int, values),): int(k) for values, k in zip(shown.reshape(2, -1).T, truth.ravel(), strict=True)}
    flat = [keys[(*map(int, values),)] for values in pixels.numpy().reshape(2, -1).T]
    return np.array(flat, np.uint8).reshape(1, *pixels.shape[1:])


def test_labels_beneath_logits() -> None:
    indices = torch.arange(100).reshape(1, 10, 10)
    assert torch.equal(beneath(indices, torch.zeros(1, 3, 10, 10)), indices)
    assert torch.equal(beneath(indices, torch.zeros(1, 3, 6, 6)), indices[:, 2:8, 2:8])


def test_a_valid_unet_trains_and_maps_what_was_judged(tmp_path: Path) -> None:
    settings = config(model={"options": OPTIONS}, trainer={"epochs": 2}, augmentation={"rotation": 20})
    run = train_on(source(), settings, RunFolder(tmp_path / "small"))
    spec = read_spec(run.model)
    assert spec.surroundings == CONTEXT
    assert spec.tile_size == 32
    pixels, _, indices = sheet(2)
    scene = write_sheet(tmp_path / "scene.tif", pixels)
    truth = np.append(LEGEND.ids, np.zeros(253, np.uint8)).astype(np.uint8)[indices]
    assert run.judgement is not None
    for tile_size in (32, 50):
        found = predict(
            scene, run.model, tmp_path / f"{tile_size}.tif", tile_size=tile_size, backend="torch", precision="fp32",
            device="cpu", bands=(1, 2),
        )  # fmt: skip
        assert found.overlap == 0
        with rasterio.open(found.labels) as file:
            labels = np.where(truth == 0, np.uint8(0), file.read(1))
        confusion = confusion_matrix(truth, labels, LEGEND.ids)
        # The network's map of a pixel does not hang on the tile but by rounding.
        assert np.abs(confusion - run.judgement.confusion).sum() <= (0 if tile_size == 32 else 4)


def test_training_on_arrays_learns_the_centre() -> None:
    pixels, _, indices = sheet(0)
    labels = np.append(LEGEND.ids, np.zeros(253, np.uint8)).astype(np.uint8)[indices]
    trained = train_on_arrays([Sample(pixels, labels)], LEGEND, options=OPTIONS, steps=2, batch=2, chip_size=32)
    assert trained.describe(name="small", bands=("a", "b")).surroundings == CONTEXT
