"""Datasets by name: the table against torchgeo's classes, and samples of tiny folders with each dataset's layout."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from PIL import Image
from torchgeo import datasets as theirs

import geoseg
from geoseg.datasets import (
    DatasetInfo,
    LabelledImages,
    Split,
    dataset_info,
    layouts,
    list_datasets,
    open_dataset,
    readers,
    write_label_images,
)
from geoseg.datasets.colours import indices_of_colours
from geoseg.errors import (
    CorruptRasterError,
    MissingFileError,
    OutputError,
    OutputExistsError,
    ParameterError,
    RasterError,
)
from geoseg.legend import Legend

SIZE = 16
Array = npt.NDArray[np.uint8]

ALL = list_datasets().datasets
NAMES = [info.name for info in ALL]


@pytest.fixture(autouse=True)
def _no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches for the network."""

    def refuse(name: str, folder: Path, split: str) -> None:
        raise AssertionError(f"{name} was to be fetched")

    monkeypatch.setattr("geoseg.datasets.opening.fetch", refuse)


def picture(seed: int, bands: int = 3) -> Array:
    """(bands, SIZE, SIZE) noise."""
    return np.random.default_rng(seed).integers(0, 256, (bands, SIZE, SIZE), np.uint8)


def values_of(info: DatasetInfo) -> Array:
    """(SIZE, SIZE) with every value that the dataset may hold."""
    values = [*info.sources, *info.ignored]
    return np.resize(np.array(values, np.uint8), (SIZE, SIZE))


def save(path: Path, array: Array, *, placed: bool = True) -> None:
    """(H, W) or (C, H, W) uint8 as the suffix has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        data = np.atleast_3d(array.T).T
        form = {"driver": "GTiff", "height": SIZE, "width": SIZE, "count": len(data), "dtype": "uint8"}
        if len(data) == 4:
            form["photometric"] = "minisblack"  # or GDAL takes near infrared for alpha
        place = {"crs": "EPSG:26918", "transform": rasterio.Affine(1, 0, 400000, 0, -1, 4300000)} if placed else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path, "w", **form, **place) as file:
                file.write(data)
        return
    options = {"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(array if array.ndim == 2 else np.moveaxis(array, 0, 2)).save(path, **options)


def coloured(info: DatasetInfo, values: Array, colormap: tuple[tuple[int, int, int], ...]) -> Array:
    """(3, H, W) in torchgeo's colours."""
    return np.moveaxis(np.array(colormap, np.uint8)[values], 2, 0)


def make_loveda(folder: Path, values: Array) -> None:
    for split in ("Train", "Val", "Test"):
        for seed, area in enumerate(("Rural", "Urban")):
            save(folder / split / area / "images_png" / f"{seed}.png", picture(seed))
            if split != "Test":
                save(folder / split / area / "masks_png" / f"{seed}.png", values)


def make_landcoverai(folder: Path, values: Array) -> None:
    for seed, split in enumerate(("train", "val", "test")):
        save(folder / "output" / f"M-33_{seed}.jpg", picture(seed))
        save(folder / "output" / f"M-33_{seed}_m.png", values)
        (folder / f"{split}.txt").write_text(f"M-33_{seed}\n\n")


def make_deepglobe(folder: Path, values: Array) -> None:
    labels = coloured(dataset_info("deepglobe"), values, theirs.DeepGlobeLandCover.colormap)
    for seed, area in enumerate(("training_data", "test_data")):
        save(folder / "data" / area / "images" / f"{seed}_sat.jpg", picture(seed))
        save(folder / "data" / area / "masks" / f"{seed}_mask.png", labels)


def make_potsdam(folder: Path, values: Array) -> None:
    labels = coloured(dataset_info("potsdam"), values, theirs.Potsdam2D.colormap)
    for seed, stem in enumerate(s for stems in theirs.Potsdam2D.splits.values() for s in stems):
        save(folder / "4_Ortho_RGBIR" / f"{stem}_RGBIR.tif", picture(seed, 4), placed=False)
        save(folder / f"{stem}_label.tif", labels)


def make_vaihingen(folder: Path, values: Array) -> None:
    labels = coloured(dataset_info("vaihingen"), values, theirs.Vaihingen2D.colormap)
    for seed, name in enumerate(n for names in theirs.Vaihingen2D.splits.values() for n in names):
        save(folder / "top" / name, picture(seed))
        save(folder / name, labels)


def make_inria(folder: Path, values: Array) -> None:
    top = folder / "AerialImageDataset"
    for number in (1, 5, 6, 12):
        save(top / "train/images" / f"tyrol-w{number}.tif", picture(number))
        save(top / "train/gt" / f"tyrol-w{number}.tif", values * 255)
    save(top / "test/images/bellingham1.tif", picture(0))


def make_gid15(folder: Path, values: Array) -> None:
    for seed, split in enumerate(("train", "val", "test")):
        save(folder / "GID/img_dir" / split / f"GF2_{seed}.tif", picture(seed))
        if split != "test":
            save(folder / "GID/ann_dir" / split / f"GF2_{seed}_15label.png", values)


def make_chesapeake(folder: Path, values: Array) -> None:
    from rasterio.warp import transform_bounds

    for name in layouts.demanded_by_chesapeake():
        path = folder / name
        path.mkdir(parents=True) if path.suffix == "" else path.touch()
    bounds = transform_bounds("EPSG:26918", "EPSG:3857", 400000, 4300000 - SIZE, 400000 + SIZE, 4300000)
    west, south, east, north = bounds
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    tiles = []
    for seed, (state, split) in enumerate([("de", "train"), ("md", "train"), ("md", "train"), ("de", "val")]):
        names = {layer: f"{state}_tiles/{seed}_{layer}.tif" for layer in ("naip-new", "lc")}
        save(folder / names["naip-new"], picture(seed, 4))
        save(folder / names["lc"], values)
        # All at one place: the class alone would refuse an area with several tiles.
        geometry = {"type": "Polygon", "coordinates": [ring]}
        tiles.append({"type": "Feature", "properties": {"split": f"{state}-{split}", **names}, "geometry": geometry})
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}
    index = {"type": "FeatureCollection", "crs": crs, "features": tiles}
    (folder / "spatial_index.geojson").write_text(json.dumps(index))


MAKERS: dict[str, Callable[[Path, Array], None]] = {
    "loveda": make_loveda,
    "landcoverai": make_landcoverai,
    "deepglobe": make_deepglobe,
    "potsdam": make_potsdam,
    "vaihingen": make_vaihingen,
    "inria": make_inria,
    "gid15": make_gid15,
    "chesapeake": make_chesapeake,
}


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Path]:
    """Makes the tiny folder of a dataset, with all label values."""

    def make(name: str) -> Path:
        folder = tmp_path / "data7"  # a digit, as in "disk2": nothing may take it for the number of an image
        folder.mkdir()
        MAKERS[name](folder, values_of(dataset_info(name)))
        return folder

    return make


def expected_indices(info: DatasetInfo) -> Array:
    """By loops: what :func:`values_of` should become."""
    wanted = {value: index for index, value in enumerate(info.sources)} | dict.fromkeys(info.ignored, 255)
    return np.vectorize(wanted.__getitem__)(values_of(info)).astype(np.uint8)


# The table.


def test_every_dataset_of_torchgeo_that_was_promised_is_listed() -> None:
    assert set(NAMES) == MAKERS.keys()
    assert not hasattr(theirs, "OpenEarthMap"), "torchgeo has it now: take it into the table"


def same_words(ours: str, others: str) -> bool:
    """Whether two class names say the same, but for case, joints and torchgeo's longer name of clutter."""
    first, second = (name.lower().replace("_", " ").replace("/background", "") for name in (ours, others))
    return first == second


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("loveda", ("no-data", *theirs.LoveDA.classes[:-1])),  # in the order of the values, not of the attribute
        ("landcoverai", theirs.LandCoverAI.classes),
        ("deepglobe", theirs.DeepGlobeLandCover.classes),
        ("potsdam", theirs.Potsdam2D.classes),
        ("vaihingen", theirs.Vaihingen2D.classes),
        ("gid15", theirs.GID15.classes),
    ],
)
def test_names_are_those_of_torchgeo_at_the_same_values(name: str, classes: tuple[str, ...]) -> None:
    info = dataset_info(name)
    for value, own in zip(info.sources, info.legend.names, strict=True):
        assert same_words(own, classes[value])
    assert {*info.sources, *info.ignored} == set(range(len(classes)))


def test_loveda_classes_of_torchgeo_are_in_another_order() -> None:
    """If this fails, torchgeo has mended it; our table does not depend on it."""
    assert theirs.LoveDA.classes[1] == "building"
    assert dataset_info("loveda").legend.name_of(1) == "background"


@pytest.mark.parametrize(
    ("name", "colours"),
    [
        ("landcoverai", theirs.LandCoverAI.cmap),
        ("deepglobe", dict(enumerate(theirs.DeepGlobeLandCover.colormap))),
        ("potsdam", dict(enumerate(theirs.Potsdam2D.colormap))),
        ("vaihingen", dict(enumerate(theirs.Vaihingen2D.colormap))),
        ("chesapeake", theirs.ChesapeakeCVPR.lc_cmap),
    ],
)
def test_colours_are_those_of_torchgeo(name: str, colours: Any) -> None:
    info = dataset_info(name)
    for value, own in zip(info.sources, info.legend, strict=True):
        # A dictionary up to torchgeo 0.9, a colour map of matplotlib from 0.10 on.
        colour = colours[value] if isinstance(colours, dict) else [round(255 * part) for part in colours(value)]
        assert own.rgb == tuple(colour[:3])


@pytest.mark.parametrize("info", ALL, ids=NAMES)
def test_the_table_is_whole(info: DatasetInfo) -> None:
    assert info.legend.ids == tuple(range(1, len(info.legend) + 1))
    assert 0 < info.gsd[0] <= info.gsd[1]
    assert info.gigabytes == pytest.approx(info.gigapixels * len(info.bands), abs=0.05)
    assert info.where.startswith("https://")
    assert info.license
    assert info.archives
    counts = [split.images for split in info.splits]
    assert None in counts or sum(c or 0 for c in counts) == info.images
    assert any(split.labelled for split in info.splits)


def test_loveda_ignores_no_data_and_counts_classes_from_zero() -> None:
    table = dataset_info("loveda").lookup()
    assert table[:9].tolist() == [255, 0, 1, 2, 3, 4, 5, 6, 254]


def test_a_table_that_contradicts_itself_is_refused() -> None:
    legend = Legend.from_names(["a", "b"])
    rest = ("x", "X", legend)
    for sources, ignored in [((0,), ()), ((0, 1), (1,)), ((1, 1), ())]:
        with pytest.raises(ParameterError, match="do not fit the values"):
            DatasetInfo(
                *rest, sources, ignored, ("red",), (1, 1), 1, 1.0, "free", "https://x", (Split("train", 1),), ("x.zip",)
            )


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ParameterError, match="did you mean landcoverai"):
        dataset_info("LandCover.ai")
    with pytest.raises(ParameterError, match="there is no dataset 'zzz'; there are loveda, "):
        dataset_info("zzz")


def test_the_table_comes_without_torch() -> None:
    code = "import sys, geoseg; print(geoseg.list_datasets()); assert not {'torch', 'torchgeo'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert all(f"{name}: " in done.stdout for name in NAMES)


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from geoseg.cli import main

    for arguments in (["datasets"], ["datasets", "--json"]):
        monkeypatch.setattr(sys, "argv", ["geoseg", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
    text = capsys.readouterr().out
    shown, listed = text[: text.index("{")], json.loads(text[text.index("{") :])["datasets"]
    assert shown == f"{geoseg.list_datasets()}\n"
    assert [one["name"] for one in listed] == NAMES
    assert listed[0]["images"] == 5987
    assert listed[0]["gigabytes"] == 18.8
    assert listed[0]["legend"]["classes"][1] == {"id": 2, "name": "building", "color": "#ff0000"}


# Samples.


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_pixels_and_our_indices(name: str, made: Callable[[str], Path]) -> None:
    info = dataset_info(name)
    folder = made(name)
    for split in info.splits:
        images = open_dataset(name, folder, split.name) if name != "chesapeake" or split.name != "test" else ()
        for image in images:
            path = folder / image.name
            with rasterio.open(path) as file:
                truth = file.read()
            # JPEG leaves the last bit to the decoder, and torchgeo's is another than GDAL's.
            assert np.abs(image.pixels.astype(int) - truth).max() <= (2 if path.suffix == ".jpg" else 0)
            assert image.pixels.dtype == np.uint8
            assert len(image.pixels) == len(info.bands)
            if not split.labelled:
                assert image.indices is None
                continue
            assert image.indices is not None
            assert image.indices.dtype == np.uint8
            assert np.array_equal(image.indices, expected_indices(info))


@pytest.mark.parametrize(
    ("name", "split", "subset", "names"),
    [
        ("loveda", "train", None, ["Train/Rural/images_png/0.png", "Train/Urban/images_png/1.png"]),
        ("loveda", "val", "urban", ["Val/Urban/images_png/1.png"]),
        ("loveda", "test", "rural", ["Test/Rural/images_png/0.png"]),
        ("landcoverai", "val", None, ["output/M-33_1.jpg"]),
        ("deepglobe", "test", None, ["data/test_data/images/1_sat.jpg"]),
        ("inria", "val", None, [f"AerialImageDataset/train/images/tyrol-w{n}.tif" for n in (1, 5)]),
        ("inria", "train", None, [f"AerialImageDataset/train/images/tyrol-w{n}.tif" for n in (12, 6)]),
        ("chesapeake", "train", "md", ["md_tiles/1_naip-new.tif", "md_tiles/2_naip-new.tif"]),
        ("chesapeake", "val", None, ["de_tiles/3_naip-new.tif"]),
    ],
)
def test_which_images_a_split_and_a_subset_have(
    name: str, split: str, subset: str | None, names: list[str], made: Callable[[str], Path]
) -> None:
    images = open_dataset(name, made(name), split, subset=subset)
    assert [file.name for file in images.files] == names
    assert [image.name for image in images] == names
    assert len(images) == len(names)
    if subset is not None:
        assert {image.subset for image in images} == {subset}


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_image(name: str, made: Callable[[str], Path]) -> None:
    folder = made(name)
    splits = [s.name for s in dataset_info(name).splits if (name, s.name) != ("chesapeake", "test")]
    found = [file.image for split in splits for file in open_dataset(name, folder, split).files]
    assert len(found) == len(set(found)) >= len(splits)


@pytest.mark.parametrize("name", NAMES)
def test_workers_can_have_it(name: str, made: Callable[[str], Path]) -> None:
    """A loader's processes get a pickle; no warning comes, though Potsdam's files have no place on earth."""
    images = open_dataset(name, made(name), "train")
    copied = pickle.loads(pickle.dumps(images))
    assert len(copied) == len(images)
    assert np.array_equal(copied[-1].pixels, images[len(images) - 1].pixels)
    assert np.array_equal(copied[-1].indices, images[len(images) - 1].indices)
    with pytest.raises(IndexError):
        images[len(images)]


def test_no_chip_is_kept_in_memory(made: Callable[[str], Path]) -> None:
    images = open_dataset("landcoverai", made("landcoverai"), "train")
    before = images[0].pixels
    Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(images.files[0].image)
    assert before.any()
    assert not images[0].pixels.any()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_real_loveda(shared_data: Path) -> None:
    folder = shared_data / "loveda"
    images = open_dataset("loveda", folder, "train", subset="rural")
    assert [Path(file.name).name for file in images.files] == ["0.png", "1.png", "2.png"]
    for image, file in zip(images, images.files, strict=True):
        with rasterio.open(file.image) as source, rasterio.open(file.labels) as labels:
            assert np.array_equal(image.pixels, source.read())
            truth = labels.read(1)
        assert image.indices is not None
        assert np.array_equal(image.indices.astype(int) + 1, np.where(truth == 0, 256, truth))
    with pytest.raises(MissingFileError, match=r"loveda train in .* lacks Train/Urban/images_png/\*\.png; get "):
        open_dataset("loveda", folder, "train")


# What is missing or damaged.


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_folder_is_an_error_that_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    info = dataset_info(name)
    with pytest.raises(MissingFileError) as error:
        open_dataset(name, tmp_path / "absent", "train")
    line = str(error.value)
    assert "\n" not in line
    assert info.where in line
    assert all(archive in line for archive in info.archives)
    assert ("--download" in line) == info.downloadable
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("loveda", "Train/Rural/masks_png/0.png"),
        ("loveda", "Train/Urban/images_png/1.png"),
        ("landcoverai", "output/M-33_2_m.png"),
        ("landcoverai", "val.txt"),
        ("deepglobe", "data/training_data/masks/0_mask.png"),
        ("potsdam", "top_potsdam_2_10_label.tif"),
        ("vaihingen", "top/top_mosaic_09cm_area1.tif"),
        ("inria", "AerialImageDataset/train/gt/tyrol-w12.tif"),
        ("gid15", "GID/ann_dir/train/GF2_0_15label.png"),
        ("chesapeake", "de_tiles/0_lc.tif"),
        ("chesapeake", "spatial_index.geojson"),
        ("chesapeake", "wv_1m_2014_extended-debuffered-val_tiles/m_3708035_ne_17_1_nlcd.tif"),
    ],
)
def test_one_missing_file_is_named(name: str, gone: str, made: Callable[[str], Path]) -> None:
    folder = made(name)
    (folder / gone).unlink()
    with pytest.raises(MissingFileError) as error:
        open_dataset(name, folder, "train")
    assert f"{name} train in {folder} lacks {gone}; get " in str(error.value)


def test_many_missing_files_are_counted_and_an_archive_beside_them_is_named(made: Callable[[str], Path]) -> None:
    folder = made("potsdam")
    shutil.rmtree(folder / "4_Ortho_RGBIR")
    (folder / "4_Ortho_RGBIR.zip").touch()
    with pytest.raises(MissingFileError, match=r"and 21 more; unpack 4_Ortho_RGBIR\.zip there \(again\), or get"):
        open_dataset("potsdam", folder, "train")


def test_an_empty_file_counts_as_missing(made: Callable[[str], Path]) -> None:
    folder = made("loveda")
    (folder / "Val/Rural/masks_png/0.png").write_bytes(b"")
    with pytest.raises(MissingFileError, match=r"lacks Val/Rural/masks_png/0\.png"):
        open_dataset("loveda", folder, "val")


@pytest.mark.parametrize("name", ["loveda", "gid15", "inria"])
def test_a_file_cut_off_is_named(name: str, made: Callable[[str], Path]) -> None:
    images = open_dataset(name, made(name), "train")
    path = images.files[0].labels
    assert path is not None
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CorruptRasterError, match="or its labels cannot be read"):
        images[0]


def test_a_value_that_the_dataset_should_not_hold_is_named(tmp_path: Path) -> None:
    make_loveda(tmp_path, np.full((SIZE, SIZE), 9, np.uint8))
    images = open_dataset("loveda", tmp_path, "train")
    with pytest.raises(RasterError, match=r"holds \[9\]; the labels of loveda are \[0, 1, 2, 3, 4, 5, 6, 7\]"):
        images[0]


def test_labels_of_another_size_are_refused(made: Callable[[str], Path]) -> None:
    images = open_dataset("loveda", made("loveda"), "train")
    assert images.files[0].labels is not None
    Image.fromarray(np.ones((SIZE, SIZE + 3), np.uint8)).save(images.files[0].labels)
    with pytest.raises(RasterError, match=r"is \(16, 16\) pixels but its labels are \(16, 19\)"):
        images[0]


def test_fewer_images_than_the_split_has_are_told(
    made: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "geoseg"):
        open_dataset("loveda", made("loveda"), "train")
    assert "loveda train has 2522 images; here are 2" in caplog.text


def test_splits_and_subsets_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="potsdam has no split 'val'; it has train, test"):
        open_dataset("potsdam", tmp_path, "val")
    with pytest.raises(ParameterError, match="loveda has no subset 'suburban'; it has urban, rural"):
        open_dataset("loveda", tmp_path, "val", subset="suburban")


# Colours.


def test_colours_are_cut_at_half_and_strange_ones_ignored() -> None:
    legend = dataset_info("deepglobe").legend
    shades = [(2, 250, 251), (254, 254, 3), (0, 0, 0), (90, 20, 4), (255, 3, 2)]
    indices, strange = indices_of_colours(np.array([shades], np.uint8), legend)
    assert indices.tolist() == [[0, 1, 255, 255, 255]]
    assert strange == 1, "black is left out on purpose, red is no class of DeepGlobe"


def test_a_strange_colour_is_told_once(made: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    images = open_dataset("potsdam", made("potsdam"), "test")
    for file in images.files[:2]:
        assert file.labels is not None
        labels = np.zeros((3, SIZE, SIZE), np.uint8)
        labels[:, 0, 0] = 255, 0, 255  # magenta
        save(file.labels, labels)
    with caplog.at_level(logging.WARNING, "geoseg"):
        first, second = images[0].indices, images[1].indices
    assert first is not None
    assert second is not None
    assert (first == 255).all(), "black, the eroded border of the ISPRS labels, is no clutter"
    assert caplog.text.count("1 of 256 label pixels have a colour that no class has") == 1


def test_the_guide_tells_what_the_table_has(project_root: Path) -> None:
    lines = (project_root / "docs/datasets.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    facts, files = rows[: len(ALL)], rows[len(ALL) :]
    assert [row[0] for row in facts] == [row[0] for row in files] == [f"`{name}`" for name in NAMES]
    for info, fact, archives in zip(ALL, facts, files, strict=True):
        low, high = info.gsd
        assert fact[1] == ", ".join(info.legend.names)
        assert fact[2] == f"{', '.join(info.bands)}; {low:g}{'' if low == high else f'–{high:g}'} m"
        assert fact[3:5] == [str(info.images or "see index"), f"{info.gigabytes:g}"]
        assert fact[5] == ", ".join(s.name + ("" if s.labelled else "¹") for s in info.splits)
        assert fact[6] == info.license
        assert f"({info.where})" in fact[7]
        assert fact[7].endswith("`--download`") == info.downloadable
        assert archives[1] == ", ".join(f"`{name}`" for name in info.archives)


# Splits without labels, and submissions.


@pytest.mark.parametrize(
    ("name", "way"), [("loveda", "use val, or geoseg submission loveda"), ("inria", "use val"), ("gid15", "val")]
)
def test_metrics_without_labels_are_refused(name: str, way: str, made: Callable[[str], Path]) -> None:
    images = open_dataset(name, made(name), "test")
    with pytest.raises(ParameterError, match=f"{name} test has no public labels, so no metrics; .*{way}"):
        images.require_labels()
    open_dataset(name, images.files[0].image.parents[len(Path(images.files[0].name).parts) - 1], "val").require_labels()


@pytest.fixture
def unlabelled(made: Callable[[str], Path]) -> LabelledImages:
    return open_dataset("loveda", made("loveda"), "test")


def test_submission(unlabelled: LabelledImages, tmp_path: Path) -> None:
    predictions = [np.resize(np.arange(7, dtype=np.uint8), (SIZE, SIZE)), np.full((SIZE, SIZE), 6, np.uint8)]
    folder = write_label_images(unlabelled, predictions, tmp_path / "out/submission")
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "1.png"]
    for name, prediction in zip(["0.png", "1.png"], predictions, strict=True):
        with Image.open(folder / name) as written:
            assert written.mode == "L"
            assert np.array_equal(np.asarray(written), prediction)
    with pytest.raises(OutputExistsError, match="exists; remove it"):
        write_label_images(unlabelled, predictions, folder)


@pytest.mark.parametrize(
    ("predictions", "complaint"),
    [
        ([np.full((SIZE, SIZE), 7, np.uint8)] * 2, "up to 7; give uint8"),
        ([np.zeros((SIZE, 2), np.uint8)] * 2, r"uint8 \(16, 2\)"),
        ([np.zeros((SIZE, SIZE), np.int64)] * 2, "is int64"),
        ([np.zeros((SIZE, SIZE), np.uint8)], "2 images here, not 1 predictions"),
        ([np.zeros((SIZE, SIZE), np.uint8)] * 3, "2 images here, not 3 predictions"),
    ],
)
def test_a_submission_that_does_not_fit_leaves_nothing(
    unlabelled: LabelledImages, tmp_path: Path, predictions: list[Array], complaint: str
) -> None:
    with pytest.raises(ParameterError, match=complaint):
        write_label_images(unlabelled, predictions, tmp_path / "out/submission")
    assert not list((tmp_path / "out").iterdir())


def test_only_loveda_test_can_be_submitted(made: Callable[[str], Path], tmp_path: Path) -> None:
    images = open_dataset("loveda", made("loveda"), "val")
    with pytest.raises(ParameterError, match="loveda val has no submission format"):
        write_label_images(images, [], tmp_path / "out")


# Downloads.


def test_download_lets_torchgeo_fetch_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(name: str, folder: Path, split: str) -> None:
        asked.append((name, split))
        make_loveda(folder, values_of(dataset_info("loveda")))

    monkeypatch.setattr("geoseg.datasets.opening.fetch", fetch)
    for _ in range(2):
        assert len(open_dataset("loveda", tmp_path, "val", download=True)) == 2
    assert asked == [("loveda", "val")]


def test_download_of_what_torchgeo_cannot_fetch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"torchgeo cannot download potsdam; get 4_Ortho_RGBIR\.zip, "):
        open_dataset("potsdam", tmp_path, "train", download=True)


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, folder: Path, split: str) -> None:
        raise RuntimeError("no\nroute")

    monkeypatch.setattr("geoseg.datasets.opening.fetch", fetch)
    with pytest.raises(OutputError, match=r"^fetching gid15 failed \(RuntimeError: no route\); get gid-15\.zip"):
        open_dataset("gid15", tmp_path, "train", download=True)


def test_a_download_that_torchgeo_takes_for_done_is_an_error(made: Callable[[str], Path]) -> None:
    """Its LoveDA looks for two folders, and fetches nothing where they stand."""
    folder = made("loveda")
    (folder / "Train/Rural/images_png/0.png").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoseg.datasets.opening.fetch", readers.download)
        with pytest.raises(MissingFileError, match="also after the download; remove what is half unpacked"):
            open_dataset("loveda", folder, "train", download=True)


@pytest.mark.parametrize("name", [info.name for info in ALL if info.downloadable])
def test_torchgeo_is_asked_to_fetch(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class ReachedError(Exception):
        pass

    def reach(*_: object, **__: object) -> None:
        raise ReachedError

    for module in ("loveda", "gid15"):
        monkeypatch.setattr(f"torchgeo.datasets.{module}.download_and_extract_archive", reach)
    for module in ("landcoverai", "chesapeake"):
        monkeypatch.setattr(f"torchgeo.datasets.{module}.download_url", reach)
    with pytest.raises(ReachedError):
        readers.download(name, tmp_path, "train")
