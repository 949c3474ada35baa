"""Whatever is wrong with labelled imagery is named, with numbers and files; what is fine is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from labelled import MemorySource
from pyproj.crs import CRS

from geoseg.config.training import DataConfig, TrainingConfig
from geoseg.errors import ParameterError, RasterError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.sources.surveys import DataCheck, check, check_data, survey
from geoseg.sources.values import LeftOut

LEGEND = Legend.from_names(["water", "forest", "town"])
UTM = CRS.from_epsg(32636).to_wkt()


def sheet(seed: int, *, scale: int = 200, dtype: str = "uint8", side: int = 40) -> Any:
    """Random values and classes."""
    rng = np.random.default_rng(seed)
    pixels = (rng.random((2, side, side)) * scale).astype(dtype)
    return pixels, None, rng.integers(0, 3, (side, side)).astype(np.uint8)


def labelled(labels: Any, seed: int = 0) -> Any:
    """A sheet with the same label everywhere, or with these labels."""
    pixels, present, indices = sheet(seed)
    return pixels, present, np.broadcast_to(np.uint8(labels), indices.shape).copy()


def grid(left: float, *, size: float = 1.0, down: float | None = None, epsg: int = 32636) -> Grid:
    """40 × 40 pixels."""
    return Grid(CRS.from_epsg(epsg).to_wkt(), Affine(size, 0, left, 0, -(down or size), 5000000), 40, 40)


def look(source: MemorySource) -> DataCheck:
    """Survey and check."""
    return check(source, survey(source))


def test_good_data_gives_no_word() -> None:
    found = look(MemorySource(LEGEND, [sheet(i) for i in range(3)], grids=[grid(500000 + 40 * i) for i in range(3)]))
    assert (found.errors, found.warnings) == ((), ())
    found.raise_for_errors()
    assert (found.sheets, found.readable, found.sizes) == (3, 3, ((40, 40), (40, 40)))
    assert found.crs == ("WGS 84 / UTM zone 36N",)
    assert found.gsd == pytest.approx((1, 1), rel=1e-3)
    assert (found.pixels, found.labelled, found.ignored, found.absent) == (4800, 4800, 0, 0)
    assert sum(c.pixels for c in found.classes) == 4800
    assert sum(c.share for c in found.classes) == pytest.approx(1)
    assert [c.sheets for c in found.classes] == [3, 3, 3]
    assert "fit to train on" in str(found)


def test_labels_outside_the_legend_stop_training() -> None:
    odd = labelled(254)
    odd[2][:30] = 1
    found = look(MemorySource(LEGEND, [sheet(0), odd, odd], unknown=42, names=["a.tif", "b.tif", "c.tif"]))
    (error,) = found.errors
    assert error == (
        "labels outside the legend: 800 px with the values 42 (800 px) in 2 of 3 images: b.tif, c.tif; put them into "
        "the legend, or say what they mean with label_values"
    )
    with pytest.raises(RasterError, match=r"^memory cannot be trained on: labels outside the legend: 800 px"):
        found.raise_for_errors()


def test_data_without_labels_stop_training() -> None:
    found = look(MemorySource(LEGEND, [labelled(255), labelled(255, 1)]))
    assert len(found.errors) == 1
    assert found.errors[0].startswith("none of the 2 images has a labelled pixel")
    assert found.warnings == ()
    assert found.ignored == 3200


def test_nothing_readable_stops_training() -> None:
    source = MemorySource(LEGEND, [sheet(i) for i in range(5)], failing=dict.fromkeys(range(5), "no TIFF"))
    found = look(source)
    assert found.errors == (
        "none of the 5 images can be used: sheet0: no TIFF, sheet1: no TIFF, sheet2: no TIFF and 2 more",
    )
    assert found.warnings == ()
    assert "no value" in str(found)


@pytest.mark.parametrize("value", [0, 7])
def test_a_band_that_says_nothing_stops_training(value: int) -> None:
    sheets = [sheet(i) for i in range(2)]
    for pixels, _, _ in sheets:
        pixels[1] = value
    assert look(MemorySource(LEGEND, sheets)).errors == (
        f"band band 2 is {value} everywhere: choose others with data.bands",
    )
    assert sheets[0][0][0].any()


def test_a_band_without_a_value_stops_training() -> None:
    pixels, _, indices = sheet(0, dtype="float32")
    pixels[0] = np.nan
    found = look(MemorySource(LEGEND, [(pixels, np.isfinite(pixels), indices)]))
    assert found.errors == ("band band 1 has no value anywhere: choose others with data.bands",)
    assert found.warnings == ("1600 samples are NaN or infinite and count as no data, in 1 images: sheet0",)


def test_several_errors_are_told_together() -> None:
    pixels, present, indices = labelled(254)
    pixels[:] = 0
    with pytest.raises(RasterError, match="memory cannot be trained on: 4 problems: labels outside the legend"):
        look(MemorySource(LEGEND, [(pixels, present, indices)])).raise_for_errors()


def test_odd_sheets_are_warned_of() -> None:
    empty = sheet(4)
    rare = labelled(1, 5)
    rare[2][0, :2] = 2
    sheets = [sheet(0), sheet(1), labelled(255), labelled(0), (empty[0], np.zeros((40, 40), bool), None), rare]
    found = look(MemorySource(LEGEND, sheets, failing={1: "image 512×512 px, labels 512×515 px"}))
    assert found.errors == ()
    assert found.warnings == (
        "1 of 6 images cannot be used and are left out: sheet1 (image 512×512 px, labels 512×515 px)",
        "1 of 6 images hold no data at all: sheet4",
        "1 of 6 images have no labelled pixel: sheet2",
        "1 of 6 images hold a single class: sheet3",
    )
    assert (found.readable, found.absent) == (5, 1600)


def test_classes_that_are_rare_or_absent_are_warned_of() -> None:
    some = labelled(0)
    some[2][0, 0] = 1
    found = look(MemorySource(LEGEND, [some]))
    assert found.warnings == (
        "1 of 3 classes never occur and cannot be learned: town",
        "1 of 3 classes are rarer than 0.1%: forest (0.00063 of all); consider chips.class_aware or class weights",
    )


def test_values_of_another_size_are_warned_of() -> None:
    sheets = [sheet(i, scale=255, dtype="float32") for i in range(4)]
    sheets[2] = sheet(2, scale=1, dtype="float32")
    found = look(MemorySource(LEGEND, sheets))
    assert len(found.warnings) == 2
    assert found.warnings[0].startswith("values of band 1 are of another size in 1 of 4 images (typical: up to 25")
    assert "sheet2 (0." in found.warnings[0]
    alike = look(MemorySource(LEGEND, [sheet(0, scale=250), sheet(1, scale=20)]))
    assert alike.warnings == ()


def test_places_that_do_not_fit_are_warned_of() -> None:
    grids = [grid(500000), grid(500020), grid(700000, epsg=32635), grid(600000, size=1.5), grid(600500, down=2.0), None]
    found = look(MemorySource(LEGEND, [sheet(i) for i in range(6)], grids=grids))
    assert found.warnings[:-1] == (
        "1 of 6 images have no place on the ground",
        "images lie in 2 reference systems: WGS 84 / UTM zone 36N (4), WGS 84 / UTM zone 35N (1)",
        "pixels are of different sizes: 1 to 1.5 m on the ground",
        "pixels of 1 images are not square: sheet4",
    )
    assert found.warnings[-1] == (
        "1 pairs of images show the same ground, 800 px in all: sheet0 and sheet1 (800 px); ground that one is judged "
        "on is closed in the other"
    )


def test_the_table_and_the_json_say_it_all() -> None:
    source = MemorySource(LEGEND, [sheet(0), labelled(255)], notes=["2 of 2 images were matched by name"])
    found = look(source)
    table = str(found)
    for text in ("memory", "MIT", "40 × 40 px", "band 2", "2 of 2 images were matched", "no labelled pixel", "forest"):
        assert text in table
    told = json.loads(json.dumps(found.to_dict()))
    assert told["bands"][1]["name"] == "band 2"
    assert told["bands"][1]["p99"] == found.bands[1][1].p99
    assert sum(told["bands"][0]["histogram"]) == told["bands"][0]["count"] == 3200
    assert [c["name"] for c in told["classes"]] == list(LEGEND.names)
    assert told["warnings"] == list(found.warnings)


def test_synthetic_scenes_are_fit_to_train_on() -> None:
    told: list[tuple[int, int]] = []
    found = check_data(synthetic=2, synthetic_size=96, progress=lambda *now: told.append(now))
    assert found.errors == ()
    assert found.sheets == 2
    assert told[-1] == (2 * 96 * 96, 2 * 96 * 96)
    config = TrainingConfig(data=DataConfig(synthetic=2, synthetic_size=96))
    assert check_data(config) == found
    with pytest.raises(ParameterError, match="settings are given twice"):
        check_data(config, synthetic=3)


def test_the_command_tells_and_exits(tmp_path: Path) -> None:
    import rasterio
    from typer.testing import CliRunner

    from geoseg.cli.app import app

    rng = np.random.default_rng(0)
    for folder, values in (("images", rng.integers(0, 255, (64, 64))), ("labels", rng.integers(1, 4, (64, 64)))):
        (tmp_path / folder).mkdir()
        profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 1, "dtype": "uint8"}
        place = {"crs": "EPSG:32636", "transform": Affine(1, 0, 500000, 0, -1, 5000000)}
        with rasterio.open(tmp_path / folder / "a.tif", "w", **profile, **place) as file:
            file.write(values[None].astype(np.uint8))
    legend = tmp_path / "legend.yaml"
    where = ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels"), "--legend", str(legend)]
    legend.write_text("{1: water, 2: forest, 3: town}")
    done = CliRunner().invoke(app, ["check-data", *where, "--json"])
    assert done.exit_code == 0, done.output
    assert [c["name"] for c in json.loads(done.stdout)["classes"]] == ["water", "forest", "town"]
    legend.write_text("{1: water, 2: forest}")
    done = CliRunner().invoke(app, ["check-data", *where])
    assert done.exit_code == 1
    assert "labels outside the legend" in done.stdout
    assert "3 (" in done.stdout


def test_what_a_source_left_out_is_a_warning() -> None:
    notes = ("3 images matched", LeftOut("1 images have no labels and are left out: a.tif"))
    found = look(MemorySource(LEGEND, [sheet(0), sheet(1)], notes=notes))
    assert (found.notes, found.warnings) == (notes[:1], notes[1:])
    assert "but see the warnings" in str(found)


def test_a_single_class_cannot_be_trained_on() -> None:
    found = look(MemorySource(LEGEND, [labelled(1), labelled(1, seed=1)]))
    (error,) = found.errors
    assert error.startswith("all labelled pixels are 'forest', so that there is nothing to tell it from")
    assert "--unlabelled" in error
