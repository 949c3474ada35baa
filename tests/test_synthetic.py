"""Synthetic scenes: the same every time, exact, and neither trivial nor lopsided."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy.spatial import cKDTree

from geoseg.errors import OutputError, OutputExistsError, ParameterError
from geoseg.metrics import Metrics, confusion_matrix
from geoseg.rasters import open_class_raster, open_scene
from geoseg.synthetic import GSD, LEGEND, SyntheticScene, make_scene
from geoseg.synthetic.noise import JitteredGrid, fractal_noise, smooth_noise
from geoseg.tiling import Window

SHAPE = (600, 700)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticScene:
    return make_scene(tmp_path_factory.mktemp("scene"), height=SHAPE[0], width=SHAPE[1], seed=5)


def _pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def test_scene_and_truth_lie_on_one_grid(made: SyntheticScene) -> None:
    with open_scene(made.scene) as scene, open_class_raster(made.truth) as truth:
        assert scene.grid == truth.grid
        assert scene.grid.shape == SHAPE
        assert scene.grid.ground_sample_distance() == pytest.approx(GSD, rel=0.01)
        assert scene.band_names == ("red", "green", "blue")
        assert scene.dtype == "uint8"
        assert truth.legend == made.legend == LEGEND


def test_labels_are_exactly_where_the_scene_is(made: SyntheticScene) -> None:
    everywhere = Window(0, 0, *SHAPE)
    with open_scene(made.scene) as scene, open_class_raster(made.truth) as truth:
        pixels, labels = scene.read(everywhere), truth.read(everywhere)
    np.testing.assert_array_equal(pixels.valid, labels > 0)
    assert pixels.present[:, labels > 0].all()
    corners = labels[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any()
    assert 0.85 < (labels > 0).mean() < 0.95


def test_one_seed_one_landscape(made: SyntheticScene, tmp_path: Path) -> None:
    again = make_scene(tmp_path / "a", height=SHAPE[0], width=SHAPE[1], seed=5)
    other = make_scene(tmp_path / "b", height=SHAPE[0], width=SHAPE[1], seed=6)
    for name in ("scene", "truth"):
        first, second, third = (_pixels(getattr(s, name)) for s in (made, again, other))
        np.testing.assert_array_equal(first, second)
        assert (first != third).mean() > 0.3


@pytest.mark.parametrize("seed", range(3))
def test_every_class_is_on_both_sides(tmp_path: Path, seed: int) -> None:
    labels = _pixels(make_scene(tmp_path, height=1100, width=1100, seed=seed).truth)[0]
    for side in (labels[:, :550], labels[:, 550:]):
        share = np.bincount(side[side > 0], minlength=7)[1:] / (side > 0).sum()
        assert share.min() > 0.002
        assert share.max() < 0.7


def test_colour_alone_does_not_make_a_map(made: SyntheticScene) -> None:
    """Each pixel to the class of the nearest mean colour of this very scene: far below what the demo asks of a map."""
    pixels, labels = _pixels(made.scene).astype(np.float32), _pixels(made.truth)[0]
    means = np.array([pixels[:, labels == i].mean(axis=1) for i in LEGEND.ids])
    distance = ((pixels[None] - means[:, :, None, None]) ** 2).sum(axis=1)
    predicted = np.asarray(LEGEND.ids, np.uint8)[distance.argmin(axis=0)]
    found = Metrics.from_confusion(confusion_matrix(labels, predicted, LEGEND.ids))
    assert found.mean_iou is not None
    assert found.mean_iou < 0.65


# Machado, Oliveira & Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency".
EYES = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.mark.parametrize("eye", EYES)
def test_every_eye_tells_the_classes_apart(eye: str) -> None:
    srgb = np.array([c.rgb for c in LEGEND]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(EYES[eye]).T, 0, 1)
    x, y, z = np.cbrt(seen @ XYZ.T / XYZ.sum(axis=1)).T
    lab = np.column_stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert distance[np.triu_indices(len(LEGEND), 1)].min() > 20  # CIE 1976; 2.3 is just noticeable


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 300), (300, 64)])
def test_small_and_long_scenes(tmp_path: Path, height: int, width: int) -> None:
    assert _pixels(make_scene(tmp_path, height=height, width=width).scene).shape == (3, height, width)


@pytest.mark.parametrize("size", [{"height": 63}, {"width": 63}, {"height": 8193}])
def test_sizes_out_of_range(tmp_path: Path, size: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match=r"sides of 64\.\.8192"):
        make_scene(tmp_path, **{"height": 64, "width": 64, **size})


def test_negative_seed(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="seed -1"):
        make_scene(tmp_path, height=64, width=64, seed=-1)


def test_existing_files_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    first = make_scene(tmp_path, height=64, width=64)
    before = first.scene.read_bytes()
    with pytest.raises(OutputExistsError):
        make_scene(tmp_path, height=64, width=64, seed=1)
    assert first.scene.read_bytes() == before
    make_scene(tmp_path, height=64, width=64, seed=1, overwrite=True)
    assert first.scene.read_bytes() != before


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot make the folder"):
        make_scene(tmp_path / "file" / "folder", height=64, width=64)


@pytest.mark.parametrize("scale", [3.0, 10.0, 37.5])
def test_noise_has_unit_variance(scale: float) -> None:
    noise = smooth_noise(np.random.default_rng(0), (600, 500), scale)
    assert noise.shape == (600, 500)
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.3
    assert 0.7 < noise.std() < 1.3
    assert 0.7 < fractal_noise(np.random.default_rng(0), (600, 500), scale).std() < 1.3


def test_noise_is_smooth() -> None:
    noise = smooth_noise(np.random.default_rng(0), (400, 400), 40)
    assert np.abs(np.diff(noise, axis=0)).max() < 0.15


def test_nearest_point_is_a_kd_trees() -> None:
    grid = JitteredGrid.scatter(np.random.default_rng(1), (200, 260), 30, jitter=0.7)
    y, x = np.indices((200, 260), dtype=np.float32)
    nearest = grid.nearest(y, x)
    _, oracle = cKDTree(np.column_stack([grid.y, grid.x])).query(np.column_stack([y.ravel(), x.ravel()]))
    np.testing.assert_array_equal(nearest.ravel(), oracle)


def test_border_distance_is_the_distance_to_the_other_cell() -> None:
    grid = JitteredGrid.scatter(np.random.default_rng(2), (120, 120), 40, jitter=0.5)
    y, x = np.indices((120, 120), dtype=np.float32)
    nearest = grid.nearest(y, x)
    distance = grid.border_distance(y, x, nearest)
    assert distance.min() >= 0
    # stepping over a border changes the cell, so the border is at most a pixel away on one side
    across = nearest[:, 1:] != nearest[:, :-1]
    assert (np.minimum(distance[:, 1:], distance[:, :-1])[across] <= 1).all()
    # and within the distance there is no other cell
    for row, col in [(30, 30), (60, 80), (100, 20)]:
        inside = np.hypot(y - row, x - col) < distance[row, col] - 0.01
        assert (nearest[inside] == nearest[row, col]).all()


@pytest.mark.slow
def test_full_size_takes_seconds(tmp_path: Path) -> None:
    start = time.monotonic()
    make_scene(tmp_path)
    assert time.monotonic() - start < 30
