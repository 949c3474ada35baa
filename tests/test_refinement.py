"""The random field equals a slow one, whatever it is cut into; pixels without data say nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refining import made_scene, refined, slow_crf

from geoseg.errors import ParameterError, ResourceError
from geoseg.metrics import BoundaryScore, boundary_counts
from geoseg.refinement import Crf, mean_field, read_refinement, strips
from geoseg.refinement.strips import seconds_per_pixel
from geoseg.synthetic import LEGEND, render_scene
from geoseg.tiling import Window

SMALL = Crf(
    iterations=3, radius=2, appearance=1.7, colour=0.8, smoothness=1.1, appearance_weight=3, smoothness_weight=2
)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "SIDE", 8)


@pytest.mark.parametrize("shape", [(19, 13), (8, 8), (3, 30), (1, 5), (1, 1)])
@pytest.mark.parametrize("crf", [SMALL, Crf(), Crf(iterations=1, radius=4, colour=2)])
def test_it_equals_a_slow_mean_field(shape: tuple[int, int], crf: Crf) -> None:
    """Most of these scenes are smaller than the halo."""
    scene = made_scene(*shape)
    np.testing.assert_allclose(refined(scene, crf), slow_crf(*scene, crf), atol=2e-6)


@pytest.mark.parametrize("weights", [(50, 50), (50, 0), (40, 41)])
def test_the_largest_weights_do_not_overflow(weights: tuple[float, float]) -> None:
    crf = Crf(iterations=2, radius=2, appearance_weight=weights[0], smoothness_weight=weights[1])
    scores, colours, valid = made_scene(12, 14)
    scores[:, :, 6:] = np.array([1, 0, 0])[:, None, None]
    scene = scores, colours, valid
    found = refined(scene, crf)
    np.testing.assert_allclose(found, slow_crf(*scene, crf), atol=2e-4)
    np.testing.assert_allclose(found.sum(0), valid, atol=1e-6)


def test_larger_pieces_give_the_same() -> None:
    """As a GPU cuts them: large blocks, and one operation for each of them."""
    scene = made_scene(40, 37)
    expected = refined(scene, SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "SIDE", 32)
        patch.setattr(mean_field, "_bands", lambda rows, *_: [(0, rows)])
        np.testing.assert_allclose(refined(scene, SMALL), expected, atol=1e-6)


def test_it_does_something() -> None:
    scene = made_scene(20, 20)
    assert np.abs(refined(scene, SMALL) - np.where(scene[2], scene[0], 0)).max() > 0.5


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_bit_depends_on_where_it_is_cut(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "SIDE", 8)
        height, width = data.draw(st.integers(1, 30)), data.draw(st.integers(3, 30))
        scene = made_scene(height, width, seed=height)
        whole = refined(scene, SMALL)
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        area = Window(top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
        part = refined(scene, SMALL, area, step=data.draw(st.integers(1, 12)))
        np.testing.assert_array_equal(part, whole[:, top : area.row_end, left : area.col_end])


def test_no_bit_depends_on_threads() -> None:
    scene, before = made_scene(40, 40), torch.get_num_threads()
    expected = refined(scene, SMALL)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            with ThreadPoolExecutor(threads) as executor:
                np.testing.assert_array_equal(refined(scene, SMALL, executor=executor), expected)
    finally:
        torch.set_num_threads(before)


def test_what_is_no_data_says_nothing() -> None:
    scores, colours, valid = made_scene(20, 20)
    expected = refined((scores, colours, valid), SMALL)
    rng = np.random.default_rng(5)
    other = np.where(valid, scores, rng.random(scores.shape, np.float32)).astype(np.float32)
    tinted = np.where(valid, colours, 9e9).astype(np.float32)
    np.testing.assert_array_equal(refined((other, tinted, valid), SMALL), expected)
    assert (expected[:, ~valid] == 0).all()
    np.testing.assert_allclose(expected[:, valid].sum(0), 1, atol=1e-6)


def test_a_pixel_alone_keeps_its_scores() -> None:
    scores, colours, valid = made_scene(9, 9)
    valid[:] = False
    valid[4, 4] = True
    np.testing.assert_allclose(refined((scores, colours, valid), SMALL)[:, 4, 4], scores[:, 4, 4], atol=1e-6)


def test_without_weights_nothing_changes() -> None:
    scene = made_scene(12, 12)
    silent = Crf(appearance_weight=0, smoothness_weight=0)
    np.testing.assert_allclose(refined(scene, silent), np.where(scene[2], scene[0], 0), atol=1e-6)


def test_one_class_stays_certain() -> None:
    scene = made_scene(10, 10, classes=1)
    np.testing.assert_array_equal(refined(scene, SMALL, classes=1)[0], scene[2])


def test_a_class_that_is_impossible_stays_so() -> None:
    scores, colours, valid = made_scene(12, 12)
    scores[1] = 0
    assert (refined((scores, colours, valid), SMALL)[1] == 0).all()


def test_pixels_that_no_tile_covers_say_nothing_and_are_none() -> None:
    scores, colours, valid = made_scene(16, 16)
    valid[:] = True
    scores[:, :, 8:] = 0
    found = refined((scores, colours, valid), SMALL)
    assert (found[:, :, 8:] == 0).all()
    valid[:, 8:] = False
    np.testing.assert_array_equal(found, refined((scores, colours, valid), SMALL))


def test_mutual_information_stays_that_of_the_samples() -> None:
    scores, colours, valid = made_scene(16, 16, planes=4)

    def entropy(p: np.ndarray) -> np.ndarray:
        return np.asarray(-(p * np.log(np.maximum(p, 1e-30))).sum(0))

    scores[3] = 0.4 * entropy(scores[:3])
    found = refined((scores, colours, valid), SMALL)
    before, after = entropy(scores[:3]) - scores[3], entropy(found[:3]) - found[3]
    np.testing.assert_allclose(after[valid], before[valid], atol=1e-5)


def test_it_draws_borders_where_the_imagery_has_them() -> None:
    """Scores of a blurred truth with noise, as a coarse network gives them: F1 of borders at 2 px, up by 0.15."""
    crf = Crf()
    made = render_scene(1, 160, 160)
    ids = LEGEND.ids
    truth = np.stack([made.labels == i for i in ids]).astype(np.float32)
    valid = made.labels != 0
    noise = np.random.default_rng(0).normal(size=truth.shape).astype(np.float32)
    blurred = torch.nn.functional.avg_pool2d(torch.from_numpy(truth)[None], 5, stride=1, padding=2)[0].numpy()
    scores = torch.softmax(torch.from_numpy(4 * blurred + noise), 0).numpy()
    pixels = made.pixels.astype(np.float32)
    colours = ((pixels - pixels.mean((1, 2), keepdims=True)) / pixels.std((1, 2), keepdims=True)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "SIDE", 128)
        found = refined((scores, colours, valid), crf, classes=len(ids))

    def f1(planes: np.ndarray) -> float:
        labels = np.where(valid, np.array(ids, np.uint8)[planes.argmax(0)], 0).astype(np.uint8)
        score = BoundaryScore.from_counts(boundary_counts(made.labels, labels, ids, 2), 2).mean_f1
        assert score is not None
        return score

    assert f1(found) > f1(scores) + 0.15


def test_a_full_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(strips, "refined_block", full)
    with pytest.raises(ResourceError, match=r"3 iterations of 2 px needs about \d+ MiB.*memory of cpu; give a"):
        refined(made_scene(9, 9), SMALL)


def test_what_it_takes_is_measured() -> None:
    assert seconds_per_pixel(SMALL, 3, 2, torch.device("cpu")) > 0


def test_text_is_read() -> None:
    assert read_refinement("crf").at(None) == Crf()
    text = "crf, iterations=10,radius=7px ,appearance=3m,smoothness=.5,colour=0.3,appearance_weight=1"
    wanted = read_refinement(text)
    assert wanted.at(0.5) == Crf(10, 7, 6.0, 0.3, 0.5, 1.0)
    assert read_refinement("crf,radius=2m").at(0.3).radius == 7
    assert read_refinement("crf,radius=0.1m").at(0.3).radius == 1
    assert Crf(iterations=4, radius=3).halo == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "refine '' is unknown; give crf"),
        ("dense", "refine 'dense' is unknown"),
        ("crf,radios=3", "crf has no 'radios'.*iterations, radius"),
        ("crf,radius", "crf radius '' is no number, in px or m"),
        ("crf,colour=3m", "crf colour '3m' is no number;"),
        ("crf,radius=3,radius=4", "twice"),
        ("crf,radius=2.5", "radius 2.5 is not in 1..20"),
        ("crf,iterations=0", r"iterations 0 is not in 1\.\.20"),
        ("crf,iterations=21", r"iterations 21 is not in 1\.\.20"),
        ("crf,smoothness=0", "smoothness 0 is no width"),
        ("crf,appearance_weight=99", r"appearance_weight 99 is not in 0\.\.50"),
        ("crf,iterations=20,radius=20", r"needs \d+ MiB a thread, 512 at most"),
    ],
)
def test_text_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        read_refinement(text)


def test_metres_need_the_size_of_a_pixel() -> None:
    wanted = read_refinement("crf,radius=3m")
    with pytest.raises(ParameterError, match="radius in metres needs a scene with a known pixel size; give pixels"):
        wanted.at(None)
    with pytest.raises(ParameterError, match=r"radius 60 is not in 1\.\.20; a pixel here is 0.05 m"):
        wanted.at(0.05)
