"""The texts for QGIS and GDAL: parsed back, and through GDAL itself."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import RasterError
from geoseg.legend import ClassDef, Legend
from geoseg.qgis import confidence_qml, layer_qml, pam_xml, parse_pam, raster_qml

ODD = Legend(
    (
        ClassDef(3, 'Water & <wet> "land"', "#419bdf"),
        ClassDef(1, "d'Or, Köln 森林 🌲", "#00ff10"),
        ClassDef(7, "]]> %s {x}", "#000000"),
    )
)

names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
legends = st.dictionaries(st.integers(1, 254), names, min_size=1, max_size=12).filter(
    lambda d: len(set(d.values())) == len(d)
)


def _legend(classes: dict[int, str]) -> Legend:
    return Legend(tuple(ClassDef(i, n, f"#{i:02x}{255 - i:02x}{i ^ 85:02x}") for i, n in classes.items()))


def test_raster_qml_has_one_entry_for_each_class_and_no_other() -> None:
    root = ET.fromstring(raster_qml(ODD))
    (renderer,) = root.iter("rasterrenderer")
    assert (root.tag, renderer.get("type"), renderer.get("band")) == ("qgis", "paletted", "1")
    found = [(e.get("value"), e.get("label"), e.get("color")) for e in renderer.iter("paletteEntry")]
    assert found == [(str(c.id), c.name, c.color) for c in ODD]


def test_confidence_qml_runs_from_0_to_1() -> None:
    (renderer,) = ET.fromstring(confidence_qml()).iter("rasterrenderer")
    assert renderer.get("type") == "singlebandpseudocolor"
    values = [float(e.get("value", "nan")) for e in renderer.iter("item")]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0, 1)


def test_layer_qml_categorizes_by_name_in_both_property_dialects() -> None:
    root = ET.fromstring(layer_qml(ODD))
    (renderer,) = root.iter("renderer-v2")
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class_name")
    categories = [(e.get("value"), e.get("label"), e.get("symbol")) for e in renderer.iter("category")]
    assert categories == [(c.name, c.name, str(i)) for i, c in enumerate(ODD)]
    for c, symbol in zip(ODD, renderer.iter("symbol"), strict=True):
        options = {e.get("name"): e.get("value") for e in symbol.findall("layer/Option/Option")}
        properties = {e.get("k"): e.get("v") for e in symbol.findall("layer/prop")}
        assert options == properties
        assert options["color"] == ",".join(map(str, (*c.rgb, 255)))


def test_pam_has_the_columns_that_qgis_recognises() -> None:
    table = ET.fromstring(pam_xml(ODD, {3: 2**33, 1: 5})).find("PAMRasterBand/GDALRasterAttributeTable")
    assert table is not None
    fields = [(f.findtext("Name"), f.findtext("Usage")) for f in table.findall("FieldDefn")]
    assert fields == [
        ("Value", "5"), ("Count", "1"), ("Class", "2"), ("Red", "6"), ("Green", "7"), ("Blue", "8"), ("Alpha", "9"),
    ]  # fmt: skip
    rows = [[f.text for f in row.findall("F")] for row in table.findall("Row")]
    assert [r[:3] for r in rows] == [
        ["1", "5", ODD.name_of(1)],
        ["3", str(2**33), ODD.name_of(3)],
        ["7", "0", ODD.name_of(7)],
    ]
    assert rows[1][3:] == ["65", "155", "223", "255"]


def test_pam_color_table_ends_at_the_highest_id() -> None:
    band = ET.fromstring(pam_xml(ODD, {})).find("PAMRasterBand")
    assert band is not None
    assert len(band.findall("ColorTable/Entry")) == len(band.findall("CategoryNames/Category")) == 8
    assert band.findtext("CategoryNames/Category") == "no data"


@given(legends)
@settings(max_examples=50, deadline=None)
def test_pam_round_trip(classes: dict[int, str]) -> None:
    legend = _legend(classes)
    names, colors = parse_pam(pam_xml(legend, {}))
    assert {c.id: names[c.id] for c in legend} == {c.id: c.name.strip() for c in legend}
    assert {c.id: colors[c.id] for c in legend} == {c.id: c.color for c in legend}


def test_gdal_reads_the_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "lc.tif"
    wkt = 'LOCAL_CS["a <site> & more",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    profile = {"driver": "GTiff", "height": 2, "width": 2, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, transform=Affine(1, 0, 0, 0, -1, 2)) as dataset:
        dataset.write(np.ones((1, 2, 2), np.uint8))
    Path(f"{path}.aux.xml").write_text(pam_xml(ODD, {1: 4}, wkt), encoding="utf-8")
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == ("land cover class",)
        assert {v: c[:3] for v, c in dataset.colormap(1).items() if c[3]} == {c.id: c.rgb for c in ODD}
        assert "a <site> & more" in dataset.crs.to_wkt()


def test_parse_pam_of_another_program() -> None:
    text = """<PAMDataset><PAMRasterBand band="1"><GDALRasterAttributeTable>
      <FieldDefn index="0"><Name>OBJECTID</Name><Type>0</Type><Usage>0</Usage></FieldDefn>
      <FieldDefn index="1"><Name>VALUE</Name><Type>1</Type><Usage>0</Usage></FieldDefn>
      <FieldDefn index="2"><Name>Class_Name</Name><Type>2</Type><Usage>0</Usage></FieldDefn>
      <FieldDefn index="3"><Name>Red</Name><Type>0</Type><Usage>0</Usage></FieldDefn>
      <FieldDefn index="4"><Name>Green</Name><Type>0</Type><Usage>0</Usage></FieldDefn>
      <FieldDefn index="5"><Name>Blue</Name><Type>0</Type><Usage>0</Usage></FieldDefn>
      <Row index="0"><F>0</F><F>11.0</F><F> Open Water </F><F>70</F><F>107</F><F>159</F></Row>
      <Row index="1"><F>1</F><F>12</F><F></F><F>300</F><F>0</F><F>0</F></Row>
      <Row index="2"><F>2</F><F>nan</F><F>x</F><F>1</F><F>2</F><F>3</F></Row>
      <Row index="3"><F>3</F><F>13</F></Row>
    </GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"""
    assert parse_pam(text) == ({11: "Open Water"}, {11: "#466b9f"})


def test_parse_pam_without_classes() -> None:
    assert parse_pam("<PAMDataset><Metadata/></PAMDataset>") == ({}, {})


def test_parse_pam_of_category_names_only() -> None:
    text = """<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category/><Category>Water</Category>
      <Category/><Category>Bog</Category></CategoryNames></PAMRasterBand></PAMDataset>"""
    assert parse_pam(text) == ({1: "Water", 3: "Bog"}, {})


@pytest.mark.parametrize("text", ["", "<a>", "not xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_parse_pam_refuses(text: str) -> None:
    with pytest.raises(RasterError):
        parse_pam(text)
