"""Random changes of training chips: what moves together, what never changes, what is absent; one source of chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geoseg.config.training import AugmentationConfig
from geoseg.errors import ParameterError
from geoseg.training import radiometry
from geoseg.training.augmentation import Augmenter
from geoseg.training.draws import Draws
from geoseg.training.geometry import ChipBatch, affine_places, elastic_shifts, lay, resample
from geoseg.training.mixing import cutmix, mosaic

NOTHING: dict[str, Any] = {"flip": False, "right_angles": False, "brightness": 0, "contrast": 0}
EVERYTHING: dict[str, Any] = {
    "rotation": 30, "zoom": 0.3, "elastic": 4, "noise": 0.2, "blur": 1.0, "band_dropout": 0.3,
    "mosaic": 0.5, "cutmix": 0.5,
}  # fmt: skip
EACH = [
    {"flip": True}, {"right_angles": True}, {"rotation": 180}, {"zoom": 0.5}, {"elastic": 5}, {"brightness": 0.5},
    {"contrast": 0.5}, {"noise": 0.3}, {"blur": 1.5}, {"band_dropout": 0.5}, {"mosaic": 1}, {"cutmix": 1}, EVERYTHING,
]  # fmt: skip
CLASSES = 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(seed: int = 0) -> Draws:
    return Draws(generator(seed), torch.device("cpu"))


def augmenter(**changes: Any) -> Augmenter:
    return Augmenter(AugmentationConfig(**NOTHING | changes))


def a_batch(count: int = 4, bands: int = 3, size: int = 24, *, seed: int = 0, holes: bool = True) -> ChipBatch:
    """Smooth pixels, labels in blobs, and absent places; what is absent is 0 and ignored."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(count, bands, size, size)), (0, 0, 2, 2)) * 5
    blobs = ndimage.gaussian_filter(rng.normal(size=(count, CLASSES, size, size)), (0, 0, 3, 3)).argmax(axis=1)
    present = torch.ones(count, 1, size, size, dtype=torch.bool)
    if holes:
        present[0, :, : size // 3] = False
        present[-1, :, 5:9, 2:7] = False
    indices = torch.from_numpy(blobs).masked_fill(~present[:, 0], 255)
    return ChipBatch(torch.from_numpy(smooth).float() * present, present, indices)


def one_hot(indices: torch.Tensor) -> torch.Tensor:
    """(B, CLASSES, S, S) float32; nothing where ignored."""
    return torch.stack([(indices == value).float() for value in range(CLASSES)], dim=1)


def same(first: ChipBatch, second: ChipBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# Everything at once: promises that hold for every setting.


@pytest.mark.parametrize("changes", EACH, ids=str)
@pytest.mark.parametrize("per_band", [False, True])
def test_every_change_keeps_its_promises(changes: dict[str, Any], per_band: bool) -> None:
    chips = a_batch()
    if per_band:
        present = chips.present.repeat(1, 3, 1, 1)
        present[1, 1, 3:9] = False
        chips = ChipBatch(chips.pixels * present, present, chips.indices)
    before = ChipBatch(*(planes.clone() for planes in chips))
    augment = augmenter(**changes)
    for seed in range(5):
        pixels, present, indices = changed = augment(*chips, generator(seed))
        for new, old in zip(changed, chips, strict=True):
            assert new.shape == old.shape
            assert new.dtype == old.dtype
        assert torch.isfinite(pixels).all()
        assert not pixels[~present.expand_as(pixels)].any()
        assert set(indices.unique().tolist()) <= {*chips.indices.unique().tolist(), 255}
        assert (indices[~present.any(dim=1)] == 255).all()
        assert same(changed, augment(*chips, generator(seed)))
        assert same(before, chips), "what is given was changed in place"
    assert not same(changed, augment(*chips, generator(99)))


def test_nothing_to_change_is_the_very_batch() -> None:
    chips = a_batch()
    state = generator()
    changed = augmenter()(*chips, state)
    assert all(new is old for new, old in zip(changed, chips, strict=True))
    assert torch.equal(state.get_state(), generator().get_state())


def test_chance_is_the_generators_alone() -> None:
    """The global generator neither matters nor moves, and a saved state goes on where it was."""
    chips, augment = a_batch(), augmenter(**EVERYTHING)
    torch.manual_seed(1)
    globally = torch.get_rng_state()
    first = generator()
    augment(*chips, first)
    saved = first.get_state()
    expected = augment(*chips, first)
    assert torch.equal(torch.get_rng_state(), globally)
    torch.manual_seed(2)
    resumed = torch.Generator()
    resumed.set_state(saved)
    assert same(augment(*chips, resumed), expected)
    assert not same(augment(*chips, generator()), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_computed_in_float32_and_come_back(dtype: torch.dtype) -> None:
    chips, augment = a_batch(), augmenter(**EVERYTHING)
    rough = chips._replace(pixels=chips.pixels.to(dtype), indices=chips.indices.to(torch.uint8))
    changed = augment(*rough, generator())
    exact = augment(rough.pixels.float(), *chips[1:], generator())
    assert torch.equal(changed.pixels, exact.pixels.to(dtype))
    assert torch.equal(changed.present, exact.present)
    assert torch.equal(changed.indices.long(), exact.indices)


def test_autocast_changes_nothing() -> None:
    chips, augment = a_batch(), augmenter(**EVERYTHING)
    with torch.autocast("cpu", torch.bfloat16):
        inside = augment(*chips, generator())
    assert same(inside, augment(*chips, generator()))


def test_gradients_are_not_kept() -> None:
    chips = a_batch()
    pixels, *_ = augmenter(**EVERYTHING)(chips.pixels.requires_grad_(), *chips[1:], generator())
    assert not pixels.requires_grad


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"present": torch.ones(2, 4, 4, dtype=torch.bool)}, r"present \(2, 4, 4\)"),
        ({"present": torch.ones(2, 2, 4, 4, dtype=torch.bool)}, r"present \(2, 2, 4, 4\)"),
        ({"indices": torch.zeros(2, 4, 5, dtype=torch.int64)}, r"indices \(2, 4, 5\)"),
        ({"indices": torch.zeros(2, 4, 4)}, "indices torch.float32"),
        ({"pixels": torch.zeros(2, 3, 4, 4, dtype=torch.uint8)}, "pixels torch.uint8"),
        ({"present": torch.ones(2, 1, 4, 4)}, "present torch.float32"),
    ],
)
def test_shapes_and_types_that_do_not_fit(wrong: dict[str, torch.Tensor], message: str) -> None:
    right = {
        "pixels": torch.zeros(2, 3, 4, 4),
        "present": torch.ones(2, 1, 4, 4, dtype=torch.bool),
        "indices": torch.zeros(2, 4, 4, dtype=torch.int64),
    }
    with pytest.raises(ParameterError, match=message):
        augmenter()(**right | wrong, generator=generator())


# Moves without loss.


def test_squares_are_laid_in_all_eight_ways_and_only_these() -> None:
    chips = a_batch(64)
    chips = ChipBatch(*(planes[:1].expand(64, *planes.shape[1:]) for planes in chips))
    ways = [(turn, flip) for turn in range(4) for flip in (False, True)]
    laid = lay(chips, True, True, draws())
    # Absent rows look the same in several of them: pixels and labels do not.
    for plane, moved in ((chips.pixels[0].numpy(), laid.pixels), (chips.indices[0].numpy(), laid.indices)):
        turned = [np.rot90(plane, turn, (-2, -1)) for turn, _ in ways]
        expected = [np.flip(t, -1) if flip else t for t, (_, flip) in zip(turned, ways, strict=True)]
        found = {next(n for n, e in enumerate(expected) if np.array_equal(e, m)) for m in moved.numpy()}
        assert found == set(range(8))
    for pixels, present, indices in zip(*(planes.numpy() for planes in laid), strict=True):  # all in the same way
        way = next(w for w in ways if np.array_equal(_numpy_laid(chips.pixels[0].numpy(), *w), pixels))
        assert np.array_equal(_numpy_laid(chips.present[0].numpy(), *way), present)
        assert np.array_equal(_numpy_laid(chips.indices[0].numpy(), *way), indices)


def _numpy_laid(plane: Any, turn: int, flip: bool) -> Any:
    turned = np.rot90(plane, turn, (-2, -1))
    return np.flip(turned, -1) if flip else turned


@pytest.mark.parametrize(("flip", "right_angles", "ways"), [(True, False, 4), (False, True, 4), (True, True, 8)])
def test_how_many_ways_there_are(flip: bool, right_angles: bool, ways: int) -> None:
    plane = torch.arange(9.0).reshape(1, 1, 3, 3).expand(100, 1, 3, 3)
    chips = ChipBatch(plane, plane >= 0, plane[:, 0].long())
    assert len(lay(chips, flip, right_angles, draws()).pixels.unique(dim=0)) == ways


def test_right_angles_need_squares() -> None:
    pixels = torch.zeros(1, 1, 3, 5)
    chips = ChipBatch(pixels, pixels == 0, pixels[:, 0].long())
    assert lay(chips, True, False, draws()).pixels.shape == pixels.shape
    with pytest.raises(ParameterError, match="chips of 3 x 5 px cannot be turned"):
        lay(chips, False, True, draws())


# Warps.


def test_warping_by_nothing_changes_nothing() -> None:
    chips = a_batch(size=33)
    still = resample(chips, affine_places(33, 33, torch.zeros(4), torch.ones(4)))
    assert torch.equal(still.present, chips.present)
    assert torch.equal(still.indices, chips.indices)
    torch.testing.assert_close(still.pixels, chips.pixels, atol=1e-4, rtol=0)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_turning_by_right_angles_is_turning_counter_clockwise(turn: int) -> None:
    chips = a_batch(size=20)
    angles = torch.full((4,), 90.0 * turn)
    turned = resample(chips, affine_places(20, 20, angles, torch.ones(4)))
    assert torch.equal(turned.indices, torch.rot90(chips.indices, turn, (-2, -1)))
    assert torch.equal(turned.present, torch.rot90(chips.present, turn, (-2, -1)))
    torch.testing.assert_close(turned.pixels, torch.rot90(chips.pixels, turn, (-2, -1)), atol=1e-3, rtol=0)


def test_warps_are_scipys() -> None:
    """Bilinear pixels and nearest labels at the same places."""
    chips = a_batch(holes=False, size=40)
    angles, factors = torch.tensor([20.0, -35.0, 5.0, 80.0]), torch.tensor([1.3, 0.8, 1.0, 0.7])
    places = affine_places(40, 40, angles, factors)
    warped = resample(chips, places)
    for chip in range(4):
        cols, rows = places[chip].double().numpy()
        angle, factor = math.radians(float(angles[chip])), float(factors[chip])
        y, x = np.mgrid[:40, :40] - 19.5
        np.testing.assert_allclose(cols, 19.5 + (math.cos(angle) * x - math.sin(angle) * y) / factor, atol=1e-4)
        np.testing.assert_allclose(rows, 19.5 + (math.sin(angle) * x + math.cos(angle) * y) / factor, atol=1e-4)
        inside = (np.minimum(rows, cols) > 0.01) & (np.maximum(rows, cols) < 38.99)
        expected = ndimage.map_coordinates(chips.pixels[chip, 0].double().numpy(), [rows, cols], order=1)
        np.testing.assert_allclose(warped.pixels[chip, 0].numpy()[inside], expected[inside], atol=2e-3)
        labels = ndimage.map_coordinates(chips.indices[chip].numpy(), [rows, cols], order=0)
        off = warped.indices[chip].numpy()[inside] != labels[inside]
        assert off.mean() < 0.003  # places just between two pixels


@pytest.mark.parametrize("changes", [{"rotation": 45}, {"zoom": 0.4}, {"elastic": 6}, EVERYTHING | {"band_dropout": 0}])
def test_pixels_and_labels_move_together(changes: dict[str, Any]) -> None:
    """Pixels that are the labels themselves still say the same afterwards, up to the pixel in which classes meet."""
    chips = a_batch(size=64)
    moves = {k: v for k, v in changes.items() if k not in ("noise", "blur")}
    pixels, present, indices = augmenter(flip=True, right_angles=True, **moves)(
        one_hot(chips.indices), chips.present, chips.indices, generator(3)
    )
    there = indices != 255
    assert torch.equal(there, present[:, 0])
    alike = pixels.argmax(dim=1)[there] == indices[there]
    assert alike.float().mean() > 0.98
    # A label is that of the nearest pixel, whose share is a quarter or more.
    share = pixels.gather(1, indices.clamp(max=CLASSES - 1)[:, None])[:, 0]
    assert (share[there] > 0.24).all()


def test_what_comes_from_outside_is_absent_and_ignored() -> None:
    pixels = torch.ones(1, 2, 20, 20)
    chips = ChipBatch(pixels, pixels[:, :1] > 0, torch.zeros(1, 20, 20, dtype=torch.int64))
    smaller = resample(chips, affine_places(20, 20, torch.zeros(1), torch.full((1,), 0.5)))
    seen = torch.zeros(20, 20, dtype=torch.bool)
    seen[5:15, 5:15] = True
    assert torch.equal(smaller.present[0, 0], seen)
    assert torch.equal(smaller.indices[0] == 255, ~seen)
    assert torch.equal(smaller.pixels[0, 0], seen.float())
    larger = resample(chips, affine_places(20, 20, torch.full((1,), 30.0), torch.full((1,), 2.0)))
    assert larger.present.all()


def test_absent_pixels_do_not_bleed_when_warped() -> None:
    """Where all that is present is 3, all that is present stays 3."""
    chips = a_batch(size=48)
    flat = chips._replace(pixels=3.0 * chips.present.expand(-1, 2, -1, -1))
    pixels, present, _ = augmenter(rotation=40, zoom=0.3, elastic=5)(*flat, generator())
    torch.testing.assert_close(pixels, 3.0 * present.expand_as(pixels))
    assert 0.3 < present.float().mean() < 1


@given(
    size=st.integers(1, 40), bands=st.integers(1, 4), rotation=st.floats(0, 180), zoom=st.floats(0, 3),
    elastic=st.floats(0, 30), seed=st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_warps_of_any_size(size: int, bands: int, rotation: float, zoom: float, elastic: float, seed: int) -> None:
    chips = a_batch(2, bands, size, seed=seed)
    changed = augmenter(rotation=rotation, zoom=zoom, elastic=elastic)(*chips, generator(seed))
    assert torch.isfinite(changed.pixels).all()
    assert torch.equal(changed.indices == 255, ~changed.present[:, 0])


def test_angles_and_factors_fill_their_ranges() -> None:
    """A point off the centre shows by how much each of many chips was turned and enlarged."""
    pixels = torch.zeros(400, 1, 41, 41)
    rows = torch.arange(41.0)[:, None].expand(41, 41)
    field = torch.stack([rows.T, rows]).expand(400, 2, 41, 41)
    chips = ChipBatch(field, pixels == 0, pixels[:, 0].long())
    moved = augmenter(rotation=50, zoom=1.0)(*chips, generator()).pixels
    right = moved[:, :, 20, 24] - 20  # where the pixel 4 right of the centre came from
    angle, factor = torch.rad2deg(torch.atan2(right[:, 1], right[:, 0])), 4 / torch.linalg.vector_norm(right, dim=1)
    assert -50 <= angle.min() < -48
    assert 48 < angle.max() <= 50
    assert 0.4999 <= factor.min() < 0.51
    assert 1.96 < factor.max() <= 2.0001
    assert factor.log().mean().abs() < 0.05  # as often smaller as larger


def test_elastic_shifts_are_smooth_and_bounded() -> None:
    nodes = torch.randn(50, 2, 3, 3, generator=generator())
    shifts = elastic_shifts(61, 81, 10.0, nodes)
    length = torch.linalg.vector_norm(shifts, dim=1)
    assert length.max() <= 10.0001
    assert length.amax(dim=(1, 2)).min() > 1
    assert shifts.diff(dim=2).abs().max() < 1.5  # pixels stay in order
    # At the nodes, in corners, middles of sides and the centre, it is what was drawn.
    at_nodes = shifts[:, :, ::30, ::40]
    scale = (at_nodes / (5 * nodes)).flatten(1)
    torch.testing.assert_close(scale, scale[:, :1].expand_as(scale), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        elastic_shifts(61, 81, 1e3, nodes / 1e3),
        torch.nn.functional.interpolate(nodes / 2, (61, 81), mode="bicubic", align_corners=True),
        atol=1e-4, rtol=1e-4,
    )  # fmt: skip


# Light, blur, noise, bands.


def test_light_changes_each_band_in_a_line_about_its_mean() -> None:
    chips = a_batch(300, 2, 8)
    changed = augmenter(brightness=0.3, contrast=0.4)(*chips, generator()).pixels
    gains, shifts = [], []
    for old, new, present in zip(chips.pixels, changed, chips.present, strict=True):
        for band in range(2):
            x, y = old[band][present[0]].double(), new[band][present[0]].double()
            gain = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
            gains.append(float(gain))
            shifts.append(float(y.mean() - x.mean()))
            torch.testing.assert_close(y, gain * (x - x.mean()) + y.mean(), atol=1e-4, rtol=1e-4)
    assert 0.6 - 1e-4 <= min(gains) < 0.68
    assert 1.32 < max(gains) <= 1.4 + 1e-4
    assert -0.3 - 1e-4 <= min(shifts) < -0.24
    assert 0.24 < max(shifts) <= 0.3 + 1e-4


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_one_without_the_other(name: str) -> None:
    chips = a_batch(holes=False)
    changed = augmenter(**{name: 0.5})(*chips, generator()).pixels
    means = (changed - chips.pixels).mean(dim=(2, 3)).abs()
    spreads = (changed.std(dim=(2, 3)) / chips.pixels.std(dim=(2, 3)) - 1).abs()
    assert (means.max() < 1e-4) == (name == "contrast")
    assert (spreads.max() < 1e-4) == (name == "brightness")


def test_blur_is_scipys_among_present_pixels() -> None:
    chips = a_batch(size=40)
    sigmas = torch.tensor([0.3, 0.8, 1.5, 2.0])
    blurred = radiometry.blur_by(chips.pixels, chips.present, sigmas, 2.0)
    for chip, sigma in enumerate(sigmas.tolist()):
        present = chips.present[chip, 0].double().numpy()
        options: dict[str, Any] = {"sigma": sigma, "mode": "constant", "radius": 6}
        share = ndimage.gaussian_filter(present, **options)
        for band in range(3):
            total = ndimage.gaussian_filter(chips.pixels[chip, band].double().numpy(), **options)
            expected = np.where(present > 0, total / np.maximum(share, 1e-9), 0)
            np.testing.assert_allclose(blurred[chip, band].numpy(), expected, atol=1e-4)


def test_absent_pixels_do_not_bleed_when_blurred() -> None:
    present = torch.rand(2, 2, 30, 30, generator=generator()) > 0.6
    chips = ChipBatch(7.0 * present, present, torch.zeros(2, 30, 30, dtype=torch.int64))
    torch.testing.assert_close(augmenter(blur=3)(*chips, generator()).pixels, 7.0 * present)


def test_no_blur_to_speak_of_changes_nothing() -> None:
    chips = a_batch()
    sharp = radiometry.blur_by(chips.pixels, chips.present, torch.zeros(4), 1.0)
    torch.testing.assert_close(sharp, chips.pixels)


def test_noise_is_gaussian_and_of_a_strength_per_chip() -> None:
    chips = a_batch(40, 2, 64)
    noise = augmenter(noise=0.5)(*chips, generator()).pixels - chips.pixels
    strengths = torch.stack([n[:, p[0]].std() for n, p in zip(noise, chips.present, strict=True)])
    assert strengths.max() < 0.52
    assert strengths.max() > 0.45
    assert strengths.min() < 0.05
    strongest = int(strengths.argmax())
    values = (noise[strongest][:, chips.present[strongest, 0]] / strengths[strongest]).flatten()
    assert abs(values.mean()) < 0.03
    assert abs((values**4).mean() - 3) < 0.3
    assert abs(torch.corrcoef(noise[strongest].flatten(1))[0, 1]) < 0.05  # each band its own


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_bands_are_dropped_but_one(bands: int) -> None:
    pixels = torch.ones(2000, bands, 2, 2)
    chips = ChipBatch(pixels, pixels[:, :1] > 0, torch.zeros(2000, 2, 2, dtype=torch.int64))
    kept = augmenter(band_dropout=0.3)(*chips, generator()).pixels.amax(dim=(2, 3))
    assert (kept.sum(dim=1) >= 1).all()
    expected = 0.7 + 0.3**bands / bands  # what is left when all would go
    assert abs(kept.mean() - expected) < 0.02
    only = augmenter(band_dropout=1)(*chips, generator()).pixels.amax(dim=(2, 3))
    assert torch.equal(only.sum(dim=1), torch.ones(2000))


# Chips of several chips.


def numbered(count: int, size: int = 16) -> ChipBatch:
    """Every value of chip n is n, or says so; present where n is not 1."""
    number = torch.arange(count)[:, None, None].expand(count, size, size)
    present = (number != 1)[:, None]
    return ChipBatch(number[:, None] * present.float(), present, number.contiguous())


@pytest.mark.parametrize("mix", [mosaic, cutmix])
def test_mixed_chips_keep_pixels_labels_and_presence_together(mix: Any) -> None:
    chips = numbered(6)
    mixed = mix(chips, 1.0, draws())
    assert torch.equal(mixed.present[:, 0], mixed.indices != 1)
    assert torch.equal(mixed.pixels[:, 0], mixed.indices * mixed.present[:, 0].float())
    real = a_batch(6)
    mixed = mix(real, 1.0, draws(3))
    for place in zip(
        *np.nonzero(np.ones(real.indices.shape[1:], bool)), strict=True
    ):  # all from one place of some chip
        sources = {(*real.pixels[(n, slice(None), *place)].tolist(), int(real.indices[(n, *place)])) for n in range(6)}
        for n in range(6):
            assert (*mixed.pixels[(n, slice(None), *place)].tolist(), int(mixed.indices[(n, *place)])) in sources


def test_mosaics_are_of_four_chips_that_meet_in_a_point() -> None:
    mixed = mosaic(numbered(9), 1.0, draws()).indices
    for chip, labels in enumerate(mixed):
        corners = [int(labels[row, col]) for row in (0, -1) for col in (0, -1)]
        assert corners[0] == chip
        assert len(set(corners)) == 4
        row, col = int((labels[:, 0] == chip).sum()), int((labels[0] == chip).sum())
        assert 4 <= min(row, col) <= max(row, col) <= 12
        for value, part in zip(
            corners, (labels[:row, :col], labels[:row, col:], labels[row:, :col], labels[row:, col:]), strict=True
        ):
            assert (part == value).all()
    assert len({tuple(m.flatten().tolist()) for m in mixed}) == 9


def test_cutmix_pastes_one_rectangle_of_another_chip() -> None:
    areas = []
    for seed in range(20):
        mixed = cutmix(numbered(5), 1.0, draws(seed)).indices
        for chip, labels in enumerate(mixed):
            foreign = labels != chip
            areas.append(float(foreign.float().mean()))
            if foreign.any():
                rows, cols = foreign.any(dim=1).nonzero(), foreign.any(dim=0).nonzero()
                assert foreign[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1].all()
                assert len(labels[foreign].unique()) == 1
    assert min(areas) < 0.05
    assert max(areas) > 0.6
    assert 0.2 < np.mean(areas) < 0.45


@pytest.mark.parametrize("name", ["mosaic", "cutmix"])
def test_how_often_chips_are_mixed(name: str) -> None:
    chips = numbered(400, 8)
    mixed = augmenter(**{name: 0.25})(*chips, generator()).indices
    share = (mixed != chips.indices).any(dim=2).any(dim=1).float().mean()
    assert 0.18 < share < 0.32


@pytest.mark.parametrize("name", ["mosaic", "cutmix"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_batches_are_mixed_with_what_there_is(name: str, count: int) -> None:
    chips = numbered(count)
    mixed = augmenter(**{name: 1})(*chips, generator())
    assert set(mixed.indices.unique().tolist()) <= set(range(count))
    assert same(mixed, chips) == (count == 1)


def test_the_layout_in_memory_does_not_matter() -> None:
    chips, augment = a_batch(), augmenter(**EVERYTHING)
    last = chips._replace(pixels=chips.pixels.to(memory_format=torch.channels_last))
    first, second = augment(*chips, generator()), augment(*last, generator())
    torch.testing.assert_close(first.pixels, second.pixels, atol=1e-5, rtol=1e-5)
    assert same(first._replace(pixels=second.pixels), second)
