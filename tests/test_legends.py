"""Where the classes of a raster come from: files that are named, and what lies in and beside a raster."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.crs import CRS

from geoseg.config import parse_legend
from geoseg.errors import GeosegError, LegendError, MissingFileError, RasterError
from geoseg.legend import ClassDef, Legend
from geoseg.qgis import layer_qml, pam_xml, parse_qml, raster_qml
from geoseg.rasters import open_class_raster, read_legend, write_class_raster
from geoseg.rasters.counting import count_values
from geoseg.tiling import Window

LEGEND = Legend(
    (ClassDef(3, "Water & <wet>", "#419bdf"), ClassDef(1, "森林", "#00ff10"), ClassDef(7, "Yes", "#000000"))
)
WINDOW = Window(0, 0, 2, 3)
PIXELS = np.array([[3, 1, 7], [0, 1, 3]], np.uint8)


def write_raster(path: Path, pixels: np.ndarray = PIXELS, colors: dict[int, tuple[int, ...]] | None = None) -> Path:
    height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8", nodata=0,
        crs=CRS.from_epsg(32633), transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as dataset:  # fmt: skip
        dataset.write(pixels, 1)
        if colors:
            dataset.write_colormap(1, colors)
    return path


def names_of(path: Path, legend: Legend | None = None) -> list[tuple[int, str, str]]:
    with open_class_raster(path, legend) as raster:
        return [(c.id, c.name, c.color) for c in raster.legend]


# Files


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json", ".YAML"])
def test_our_own_records(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"legend{suffix}"
    dump = json.dumps if suffix == ".json" else yaml.safe_dump
    for content in (LEGEND.to_records(), {"classes": LEGEND.to_records()}):
        path.write_text(dump(content), encoding="utf-8")
        assert read_legend(path) == LEGEND


@pytest.mark.parametrize(
    "text",
    [
        "{1: water, 2: forest}", "1: water\n2: forest\n", '{"1": "water", "2": "forest"}',
        "classes: {1: water, 2: forest}",
        "- {id: 1, name: water}\n- {id: 2, name: forest}", "1: {name: water}\n2: {name: forest}\n",
        "\ufeff1: water\n2: forest",
    ],
)  # fmt: skip
def test_plain_mappings_get_default_colours(tmp_path: Path, text: str) -> None:
    (tmp_path / "legend.yaml").write_text(text, encoding="utf-8")
    assert read_legend(tmp_path / "legend.yaml") == Legend.from_names(["water", "forest"])


def test_colours_of_a_mapping() -> None:
    legend = parse_legend("5: {name: water, color: '#0000FF'}\n9: forest\n", "x")
    assert [(c.id, c.name) for c in legend] == [(5, "water"), (9, "forest")]
    assert legend.classes[0].color == "#0000ff"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no list"), ("water", "holds no list"), ("[]", "holds no list"), ("{}", "holds no list"),
        ("{1: water, 1: forest}", "named more than once: 1"), ("{0: background}", "class id 0"),
        ("{1: yes}", "put it in quotes"), ("{1: 2020}", "put it in quotes"), ("{1: }", "put it in quotes"),
        ("{1: water, 2: water}", "names must be unique"), ("{one: water}", "'one'"), ("{1.5: water}", "1.5"),
        ("{255: water}", "255"), ("{1: {name: water, colour: red}}", "a class is"), ("[water, forest]", "a class is"),
        ("{1: {name: water, color: blue}}", "blue"), ("{1: [", "flow"), ("!!python/object/apply:os.system [x]", "tag"),
        ("[" * 5000, "legend"), ("{1: 2001-99-99}", "month"),
        ("[{id: 1, name: a}, {id: 1, name: b}]", "ids must be unique"),
    ],
)  # fmt: skip
def test_what_is_no_legend_is_told_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(LegendError, match=problem) as raised:
        parse_legend(text, "my.yaml")
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("my.yaml")


@given(st.text(max_size=40) | st.text("{}[]:,- 12ab&*!\n", max_size=40))
def test_any_text_is_a_legend_or_a_clear_error(text: str) -> None:
    problem = ""
    try:
        assert len(parse_legend(text, "x")) > 0
    except LegendError as error:
        problem = str(error)
    assert "\n" not in problem


def test_style_as_legend(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "l.qml").write_text(raster_qml(LEGEND), encoding="utf-8")
    assert read_legend(tmp_path / "l.qml").to_records() == sorted(LEGEND.to_records(), key=lambda r: r["id"])
    text = raster_qml(LEGEND).replace('value="1"', 'value="0"')
    (tmp_path / "l.qml").write_text(text, encoding="utf-8")
    assert read_legend(tmp_path / "l.qml").ids == (3, 7)
    assert "reserved value 0" in caplog.text


def test_files_that_cannot_be_a_legend(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no\.yaml"):
        read_legend(tmp_path / "no.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(MissingFileError, match="directory"):
        read_legend(tmp_path / "folder.yaml")
    with pytest.raises(LegendError, match=r"must end in"):
        read_legend(tmp_path / "l.csv")
    (tmp_path / "l.qml").write_text(layer_qml(LEGEND), encoding="utf-8")
    with pytest.raises(LegendError, match="lists no classes"):
        read_legend(tmp_path / "l.qml")
    (tmp_path / "l.qml").write_text("no style", encoding="utf-8")
    with pytest.raises(LegendError, match=r"l\.qml is no legend"):
        read_legend(tmp_path / "l.qml")
    with (tmp_path / "l.json").open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(LegendError, match="16 MiB"):
        read_legend(tmp_path / "l.json")


# Styles


def test_qgis_writes_a_doctype_and_what_else_it_likes() -> None:
    text = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
    <qgis version="3.22.4"><pipe><rasterrenderer type="paletted" band="1"><colorPalette>
    <paletteEntry value="1" label="Water" color="#419BDF" alpha="255"/>
    <paletteEntry value="2.0" label="2" color="#00ff10" alpha="128"/>
    <paletteEntry value="3" label="" color="teal"/>
    <paletteEntry value="1000" label="far" color="#000000"/><paletteEntry label="none"/>
    </colorPalette></rasterrenderer></pipe></qgis>"""
    assert parse_qml(text) == ({1: "Water"}, {1: "#419bdf", 2: "#00ff10"})


def test_a_style_comes_back() -> None:
    names, colors = parse_qml(raster_qml(LEGEND))
    assert names == {c.id: c.name for c in LEGEND}
    assert colors == {c.id: c.color for c in LEGEND}
    assert parse_qml(layer_qml(LEGEND)) == ({}, {})


def test_entity_bombs_are_refused() -> None:
    bomb = '<!DOCTYPE q [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><qgis>&b;</qgis>'
    outside = '<!DOCTYPE q [<!ENTITY a SYSTEM "file:///etc/hostname">]><qgis>&a;</qgis>'
    for text in (bomb, outside, "<qgis>&undeclared;</qgis>", "<qgis"):
        with pytest.raises(RasterError, match=r"\.qml"):
            parse_qml(text)


# Which of them counts


def test_the_order_of_sources(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "lc.tif", colors={1: (1, 1, 1, 255), 3: (3, 3, 3, 255), 7: (7, 7, 7, 255)})
    assert names_of(path) == [(1, "class 1", "#010101"), (3, "class 3", "#030303"), (7, "class 7", "#070707")]
    (tmp_path / "lc.qml").write_text(raster_qml(LEGEND), encoding="utf-8")
    styled = sorted((c.id, c.name, c.color) for c in LEGEND)
    assert names_of(path) == styled
    pam = Legend((ClassDef(1, "Wood", "#aabbcc"),))
    (tmp_path / "lc.tif.aux.xml").write_text(pam_xml(pam, {}), encoding="utf-8")
    assert names_of(path) == [(1, "Wood", "#aabbcc"), *styled[1:]]
    given_legend = Legend.from_names("abcdefg")
    assert names_of(path, given_legend) == [(c.id, c.name, c.color) for c in given_legend]


def test_our_own_tags_come_before_what_lies_beside(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "lc.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(GEOSEG_LEGEND=json.dumps(LEGEND.to_records()))
    (tmp_path / "lc.qml").write_text(raster_qml(Legend.from_names("abcdefg")), encoding="utf-8")
    assert names_of(path) == [(c.id, c.name, c.color) for c in LEGEND]
    assert names_of(path, Legend.from_names("xyz"))[0][1] == "x"


def test_the_style_of_polygons_beside_a_raster_names_nothing(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "lc.tif")
    (tmp_path / "lc.qml").write_text(layer_qml(LEGEND), encoding="utf-8")
    assert [name for _, name, _ in names_of(path)] == ["class 1", "class 3", "class 7"]


def test_our_raster_without_its_tags_keeps_its_names(tmp_path: Path) -> None:
    from geoseg.grids import Grid

    grid = Grid(CRS.from_epsg(32633).to_wkt(), rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), 2, 3)
    with write_class_raster(tmp_path / "ours.tif", grid, LEGEND) as writer:
        writer.write(WINDOW, PIXELS)
    write_raster(tmp_path / "ours.tif")
    (tmp_path / "ours.tif.aux.xml").unlink(missing_ok=True)
    assert names_of(tmp_path / "ours.tif") == sorted((c.id, c.name, c.color) for c in LEGEND)


def test_a_given_legend_costs_no_look_through_the_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_raster(tmp_path / "lc.tif")
    monkeypatch.setattr("geoseg.rasters.counting.count_values", None)
    assert names_of(path, LEGEND) == [(c.id, c.name, c.color) for c in LEGEND]
    with pytest.raises(TypeError):
        names_of(path)


def test_values_that_a_given_legend_lacks_are_told(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "lc.tif")
    with open_class_raster(path, Legend.from_names(["a", "b"])) as raster:
        labels = raster.read(WINDOW)
        assert np.array_equal(labels, PIXELS)
        raster.refuse_unknown([0, 1, 2])
        with pytest.raises(RasterError, match=r"does not name: 3, 7 \(it names 1, 2\).*--legend"):
            raster.refuse_unknown(np.unique(labels).tolist())


def test_broken_styles_beside_a_raster_are_told(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "lc.tif")
    (tmp_path / "lc.qml").write_text("<qgis", encoding="utf-8")
    with pytest.raises(GeosegError, match=r"\.qml is no XML"):
        names_of(path)


def test_reserved_values_are_told_once_for_a_raster_without_a_legend(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_raster(tmp_path / "lc.tif", np.array([[255, 1, 7]], np.uint8))
    with caplog.at_level(logging.WARNING, "geoseg"):
        names_of(path, LEGEND)
        assert not caplog.records
        names_of(path)
    assert "1 pixels have the reserved value 255" in caplog.text


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.integers(0, 2**32 - 1))
def test_values_are_counted_as_numpy_counts_them(values: np.ndarray, seed: int) -> None:
    valid = np.random.default_rng(seed).random(values.shape) < 0.7
    assert np.array_equal(count_values(values, valid), np.bincount(values[valid], minlength=256))
    assert np.array_equal(count_values(values.T, valid.T), np.bincount(values[valid], minlength=256))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_legend_in_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "legend.yaml").write_text("1: Wäld\n", encoding=encoding)
    with pytest.raises(LegendError, match="save it as UTF-8"):
        read_legend(tmp_path / "legend.yaml")


def test_a_broken_file_beside_the_raster_is_named(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "lc.tif")
    for name in ("lc.qml", "lc.tif.aux.xml"):
        (tmp_path / name).write_text("<broken", encoding="utf-8")
        with pytest.raises(RasterError, match=rf"{name}: the \..* no XML"), open_class_raster(path):
            pass
        (tmp_path / name).unlink()
