"""Many scenes: what is found under a name, a map each, and one bad file that stops nobody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from scenes import FakePredictor, IdentityNetwork, replace_network, write_scene, write_spec

from geoseg.choices import Precision
from geoseg.errors import GeosegError, MissingFileError, ParameterError, RasterError
from geoseg.inference import find_scenes, network, predict, predict_scenes

VALUES = np.random.default_rng(3).integers(1, 8, (20, 30)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two scenes, an output of ours, a broken file and something else."""
    write_scene(tmp_path / "b.tif", VALUES)
    write_scene(tmp_path / "a.TIF", VALUES[::-1].copy())
    write_scene(tmp_path / "a_landcover.tif", VALUES)
    write_scene(tmp_path / "a_confidence.tif", VALUES)
    (tmp_path / "notes.txt").write_text("no scene")
    (tmp_path / "deep").mkdir()
    write_scene(tmp_path / "deep" / "c.tif", VALUES)
    return tmp_path


def names(found: list[str]) -> list[str]:
    return [Path(name).name for name in found]


def test_folders_and_patterns_are_their_scenes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(find_scenes([folder])) == ["a.TIF", "b.tif"]
    assert names(find_scenes([folder / "*.tif"])) == ["b.tif"]
    assert names(find_scenes([folder / "**" / "*.tif"])) == ["b.tif", "c.tif"]
    assert names(find_scenes([folder / "b.tif", folder])) == ["b.tif", "a.TIF"]
    monkeypatch.chdir(folder)
    assert find_scenes(["*.tif"]) == ["b.tif"]
    assert find_scenes(["nowhere.tif", "https://host/x*y.tif", "/vsis3/bucket/[a].tif"])[0] == "nowhere.tif"


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "a[1].tif", VALUES)
    assert find_scenes([scene]) == [str(scene)]


def test_nothing_found_says_what_was_looked_for(folder: Path) -> None:
    with pytest.raises(MissingFileError, match=r"raster that matches; geoseg reads \.tif"):
        find_scenes([folder / "*.png"])
    (folder / "deep" / "c.tif").rename(folder / "deep" / "c_landcover.tif")
    with pytest.raises(MissingFileError, match="1 of geoseg's own outputs"):
        find_scenes([folder / "deep"])
    with pytest.raises(ParameterError, match="no scene"):
        find_scenes([])


def test_a_bad_scene_is_an_outcome_and_the_network_is_loaded_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "aa.tif").write_bytes(b"II*\0 but no raster")
    loads, identity = [], IdentityNetwork()

    def load(job: object, _: object) -> FakePredictor:
        loads.append(job)
        return FakePredictor(identity, job)  # type: ignore[arg-type]

    monkeypatch.setattr(network, "load_network", load)
    model, out = write_spec(folder / "m.safetensors"), folder / "maps"
    out.mkdir()
    outcomes = list(predict_scenes([folder], model, out))
    assert [Path(o.scene).name for o in outcomes] == ["a.TIF", "aa.tif", "b.tif"]
    assert isinstance(outcomes[1].error, RasterError)
    assert [o.prediction is None for o in outcomes] == [False, True, False]
    assert len(loads) == 1
    suffixes = (".qml", ".tif", ".tif.aux.xml")
    assert sorted(p.name for p in out.iterdir()) == [f"{s}_landcover{suffix}" for s in "ab" for suffix in suffixes]
    with rasterio.open(out / "b_landcover.tif") as file:
        np.testing.assert_array_equal(file.read(1), VALUES)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_many_scenes_never_hold_many_networks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    """int8 is calibrated on each scene."""
    held: list[int] = []

    class Counted(FakePredictor):
        def close(self) -> None:
            held.append(-1)

    def load(job: object, _: object) -> FakePredictor:
        held.append(1)
        return Counted(IdentityNetwork(), job)  # type: ignore[arg-type]

    monkeypatch.setattr(network, "load_network", load)
    monkeypatch.setattr("geoseg.inference.computing.precision_difference", lambda *_: 0.0)
    model, out = write_spec(folder / "m.safetensors"), folder / "maps"
    out.mkdir()
    outcomes = list(predict_scenes([folder], model, out, precision=precision))
    assert len([o for o in outcomes if o.prediction]) == 2
    assert held.count(1) == (2 if precision == "int8" else 1)
    assert max(np.cumsum(held)) == 1
    assert sum(held) == 0


def test_two_scenes_never_share_an_output(folder: Path) -> None:
    write_scene(folder / "deep" / "b.tif", VALUES)
    model = write_spec(folder / "m.safetensors")
    with pytest.raises(ParameterError, match=r"b_landcover\.tif"):
        list(predict_scenes([folder, folder / "deep"], model, folder))
    with pytest.raises(MissingFileError, match="no folder"):
        list(predict_scenes([folder], model, folder / "absent"))


def test_two_scenes_of_one_stem_beside_each_other_are_refused_before_one_replaces_the_other(folder: Path) -> None:
    write_scene(folder / "b.img", VALUES, driver="HFA")
    model = write_spec(folder / "m.safetensors")
    with pytest.raises(ParameterError, match=r"b\.img and .*b\.tif would both be written to .*b_landcover\.tif"):
        list(predict_scenes([folder], model, overwrite=True))
    again = folder / "deep" / ".." / "b.tif"
    with pytest.raises(ParameterError, match="name only one"):
        list(predict_scenes([folder / "b.tif", again], model, overwrite=True))


def test_an_empty_name_is_not_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ParameterError, match="empty name"):
        find_scenes([""])


def test_a_mosaic_is_predicted_as_the_scene_it_was_cut_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_network(monkeypatch, IdentityNetwork())
    model = write_spec(tmp_path / "m.safetensors")
    transform = write_and_cut(tmp_path)
    done = predict([tmp_path / "left.tif", tmp_path / "right.tif"], model, tmp_path / "o.tif", tile_size=16)
    with rasterio.open(done.labels) as file:
        np.testing.assert_array_equal(file.read(1), VALUES)
        assert file.transform == transform
    with pytest.raises(ParameterError, match="name its map"):
        predict([tmp_path / "left.tif", tmp_path / "right.tif"], model)


def write_and_cut(folder: Path) -> object:
    whole = write_scene(folder / "whole.tif", VALUES)
    with rasterio.open(whole) as file:
        transform = file.transform
    write_scene(folder / "left.tif", VALUES[:, :13].copy(), transform=transform)
    write_scene(folder / "right.tif", VALUES[:, 13:].copy(), transform=transform @ transform.translation(13, 0))
    return transform


def test_whatever_goes_wrong_with_a_scene_the_others_have_their_maps(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fragile(IdentityNetwork):
        def __call__(self, tiles: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            if self.tiles == 0:
                self.tiles = 1
                raise ZeroDivisionError("nobody thought of it")
            return super().__call__(tiles)

    replace_network(monkeypatch, Fragile())
    outcomes = list(predict_scenes([folder], write_spec(folder / "m.safetensors"), folder / "deep"))
    assert isinstance(outcomes[0].error, ZeroDivisionError)
    assert outcomes[1].prediction is not None


def test_what_concerns_all_scenes_is_told_once(folder: Path) -> None:
    with pytest.raises(GeosegError, match="no model 'nettle'"):
        list(predict_scenes([folder], "nettle"))
