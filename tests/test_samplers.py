"""OverlapTileSampler on real torchgeo datasets: the tiles of the grid, exact to the pixel."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from geoseg.errors import ParameterError
from geoseg.tiling import TileGrid, Window

torchgeo_datasets = pytest.importorskip("torchgeo.datasets")

from geoseg.samplers import OverlapTileSampler  # noqa: E402  torchgeo first, so that its absence skips


def _dataset(folder: Path, *, names: tuple[str, ...] = ("a.tif",), height: int = 37, width: int = 53) -> object:
    for number, name in enumerate(names):
        transform = Affine(10, 0, 500_000 + 100_000 * number, 0, -10, 5_000_000)
        values = (np.arange(height * width).reshape(1, height, width) % 251 + 1).astype(np.uint8)
        with rasterio.open(
            folder / name, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8",
            crs="EPSG:32633", transform=transform,
        ) as file:  # fmt: skip
            file.write(values)
    return torchgeo_datasets.RasterDataset(str(folder))


@pytest.mark.parametrize(("tile_size", "overlap"), [(16, 0), (16, 4), (16, 9), (64, 16), (5, 1)])
def test_slices_are_the_windows_of_the_grid(tmp_path: Path, tile_size: int, overlap: int) -> None:
    sampler = OverlapTileSampler(_dataset(tmp_path), tile_size, overlap)
    grid = TileGrid(37, 53, tile_size, overlap)
    assert sampler.grids == (grid,)
    assert len(sampler) == len(grid)
    for (x, y, _), tile in zip(sampler, grid, strict=True):
        left, right = (x.start - 500_000) / 10, (x.stop - 500_000) / 10
        top, bottom = (5_000_000 - y.stop) / 10, (5_000_000 - y.start) / 10
        window = Window(round(top), round(left), round(bottom - top), round(right - left))
        assert window == tile.window
        np.testing.assert_allclose((top, left), (window.row_off, window.col_off), atol=1e-6)


def test_the_dataset_returns_exactly_the_pixels_of_the_tile(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path)
    sampler = OverlapTileSampler(dataset, 16, 4)
    with rasterio.open(tmp_path / "a.tif") as file:
        whole = np.pad(file.read(1), 32)  # a torchgeo dataset fills with 0 outside
    for query, tile in zip(sampler, sampler.grids[0], strict=True):
        chip = dataset[query]["image"]  # type: ignore[index]
        row, col = tile.window.row_off + 32, tile.window.col_off + 32
        np.testing.assert_array_equal(chip[0].numpy(), whole[row : row + 16, col : col + 16])


def test_each_file_has_a_grid_of_its_own(tmp_path: Path) -> None:
    sampler = OverlapTileSampler(_dataset(tmp_path, names=("a.tif", "b.tif")), 32, 8)
    assert len(sampler.grids) == 2
    assert len(list(sampler)) == len(sampler) == sum(len(grid) for grid in sampler.grids)
    assert [file for file, _ in sampler.tiles()] == [0] * len(sampler.grids[0]) + [1] * len(sampler.grids[1])


def test_a_file_smaller_than_a_tile_is_still_covered(tmp_path: Path) -> None:
    sampler = OverlapTileSampler(_dataset(tmp_path, height=3, width=5), 16, 4)
    assert len(sampler) == 1


def test_torch_takes_it_as_a_sampler(tmp_path: Path) -> None:
    from torch.utils.data import DataLoader
    from torchgeo.datasets import stack_samples

    dataset = _dataset(tmp_path)
    loader = DataLoader(
        dataset, batch_size=4, sampler=OverlapTileSampler(dataset, 16, 4), collate_fn=stack_samples  # type: ignore[arg-type]
    )  # fmt: skip
    assert sum(len(batch["image"]) for batch in loader) == len(TileGrid(37, 53, 16, 4))


def test_impossible_overlap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="overlap 16"):
        OverlapTileSampler(_dataset(tmp_path), 16, 16)
