"""What QGIS and GDAL read beside and inside our outputs, as text: QML styles and the PAM sidecar of a raster.

QML is the style file of QGIS (``X.qml`` beside ``X.tif``, or the ``styleQML`` column of a GeoPackage); PAM is GDAL's
"persistent auxiliary metadata" (``X.tif.aux.xml``), the place where GDAL keeps category names and raster attribute
tables (https://gdal.org/en/stable/user/raster_data_model.html).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element, SubElement

from geoseg.errors import RasterError
from geoseg.legend import NODATA_ID, ClassDef, Legend

NODATA_NAME = "no data"
"""What id 0 is called where a format wants a name for every value."""

# Files say which QGIS wrote them; QGIS upgrades older ones on reading. This is the oldest version that we serve.
_QGIS_VERSION = "3.22.0"

# Viridis (van der Walt and Smith 2015) at 0, 1/4 .. 1: monotone in lightness, safe for colour-blind readers.
_CONFIDENCE_RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")

_HEX = re.compile(r"#[0-9a-f]{6}")

# Name, GDALRATFieldType (0 integer, 2 string) and GDALRATFieldUsage of the columns of our raster attribute table.
_RAT_COLUMNS = (
    ("Value", 0, 5),
    ("Count", 0, 1),
    ("Class", 2, 2),
    ("Red", 0, 6),
    ("Green", 0, 7),
    ("Blue", 0, 8),
    ("Alpha", 0, 9),
)


def raster_qml(legend: Legend) -> str:
    """Style of a class raster: one paletted entry for each class, by id."""
    root = _qml()
    renderer = SubElement(SubElement(root, "pipe"), "rasterrenderer", type="paletted", band="1", opacity="1")
    renderer.set("alphaBand", "-1")
    palette = SubElement(renderer, "colorPalette")
    for c in legend:
        SubElement(palette, "paletteEntry", value=str(c.id), label=c.name, color=c.color, alpha="255")
    return _text(root)


def confidence_qml() -> str:
    """Style of a confidence raster: band 1 in false colour from 0 to 1, the values after the band's scale."""
    root = _qml()
    renderer = SubElement(SubElement(root, "pipe"), "rasterrenderer", type="singlebandpseudocolor", band="1")
    limits = {"classificationMin": "0", "classificationMax": "1", "opacity": "1", "alphaBand": "-1"}
    for key, value in limits.items():
        renderer.set(key, value)
    # The range is 0..1 by meaning; without this QGIS stretches the ramp over the values it happens to find.
    SubElement(SubElement(renderer, "minMaxOrigin"), "limits").text = "None"
    shader = SubElement(SubElement(renderer, "rastershader"), "colorrampshader", colorRampType="INTERPOLATED")
    for key, value in {"classificationMode": "1", "clip": "0", "minimumValue": "0", "maximumValue": "1"}.items():
        shader.set(key, value)
    for i, color in enumerate(_CONFIDENCE_RAMP):
        value = f"{i / (len(_CONFIDENCE_RAMP) - 1):g}"
        SubElement(shader, "item", value=value, label=value, color=color, alpha="255")
    return _text(root)


def layer_qml(legend: Legend) -> str:
    """Style of the polygon layer: one category for each class, on the attribute ``class_name``."""
    root = _qml()
    root.set("styleCategories", "Symbology")
    renderer = SubElement(root, "renderer-v2", type="categorizedSymbol", attr="class_name")
    for key, value in {"symbollevels": "0", "forceraster": "0", "enableorderby": "0"}.items():
        renderer.set(key, value)
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for i, c in enumerate(legend):
        SubElement(categories, "category", symbol=str(i), value=c.name, label=c.name, render="true", type="string")
        _add_fill(symbols, str(i), c)
    SubElement(root, "layerGeometryType").text = "2"
    return _text(root)


def pam_xml(legend: Legend, counts: Mapping[int, int], srs_wkt: str | None = None) -> str:
    """The ``.aux.xml`` of a class raster: colour table, category names and raster attribute table.

    QGIS before 3.40 takes names from the categories, later ones from the attribute table; the colour table ends at the
    highest id, else QGIS lists all 256 values.

    Args:
        legend: The classes.
        counts: Pixels of each class id; missing ids count 0.
        srs_wkt: CRS, for those that GeoTIFF keys cannot hold. Its axes are taken as x, y (GIS order).
    """
    root = Element("PAMDataset")
    if srs_wkt is not None:
        SubElement(root, "SRS").text = srs_wkt
    band = SubElement(root, "PAMRasterBand", band="1")
    SubElement(band, "Description").text = "land cover class"
    classes = {c.id: c for c in legend}
    names, colors = SubElement(band, "CategoryNames"), Element("ColorTable")
    for value in range(max(classes) + 1):
        known = classes.get(value)
        SubElement(names, "Category").text = known.name if known else NODATA_NAME if value == NODATA_ID else ""
        r, g, b = known.rgb if known else (0, 0, 0)
        SubElement(colors, "Entry", c1=str(r), c2=str(g), c3=str(b), c4="255" if known else "0")
    SubElement(band, "ColorInterp").text = "Palette"
    band.append(colors)
    band.append(_attribute_table(legend, counts))
    return _text(root)


def parse_pam(text: str) -> tuple[dict[int, str], dict[int, str]]:
    """Class names and colours (``#rrggbb``) by pixel value of band 1, from an ``.aux.xml`` of any program.

    A raster attribute table wins over category names and colour table, value by value. Columns are recognised by
    usage, else by the names that other programs give them. Either mapping may be empty.

    Raises:
        RasterError: The text is no XML, or carries a document type (which no PAM file has, and entity bombs need).
    """
    if "<!DOCTYPE" in text:
        raise RasterError("the .aux.xml beside the raster carries a DOCTYPE, which GDAL never writes; delete the file")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise RasterError(f"the .aux.xml beside the raster is no XML ({error}); delete or rewrite the file") from error
    band = next((b for b in root.iter("PAMRasterBand") if b.get("band", "1") == "1"), None)
    if band is None:
        return {}, {}
    listed = enumerate(band.findall("CategoryNames/Category"))
    names = {value: e.text.strip() for value, e in listed if e.text and e.text.strip()}
    entries = enumerate(band.findall("ColorTable/Entry"))
    colors = {value: _hex(e.get(c, "0") for c in ("c1", "c2", "c3")) for value, e in entries}
    table = band.find("GDALRasterAttributeTable")
    if table is not None:
        table_names, table_colors = _read_attribute_table(table)
        names, colors = names | table_names, colors | table_colors
    return names, {v: c for v, c in colors.items() if c is not None}


def parse_qml(text: str) -> tuple[dict[int, str], dict[int, str]]:
    """Class names and colours (``#rrggbb``) by pixel value, from a QGIS style; only that of a paletted raster has any.

    A label that only repeats its value, which QGIS puts in for want of a better one, is no name.

    Raises:
        RasterError: The text is no XML, or declares entities, which no style does.
    """
    # QGIS itself writes a DOCTYPE; nothing is read from where it points. What bombs are made of is declared entities.
    if "<!ENTITY" in text:
        raise RasterError("the .qml declares XML entities, which QGIS never writes; delete the file")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise RasterError(f"the .qml is no XML ({error}); delete the file, or save the style anew") from error
    names: dict[int, str] = {}
    colors: dict[int, str] = {}
    renderers = [r for r in root.iter("rasterrenderer") if r.get("type") == "paletted"]
    for entry in (e for r in renderers for e in r.iter("paletteEntry")):
        value = _integer(entry.get("value", ""))
        if value is None or not 0 <= value <= 255:
            continue
        label, color = entry.get("label", "").strip(), entry.get("color", "").lower()[:7]
        if label and _integer(label) != value:
            names[value] = label
        if _HEX.fullmatch(color):
            colors[value] = color
    return names, colors


def _qml() -> Element:
    return Element("qgis", version=_QGIS_VERSION)


def _text(root: Element) -> str:
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _add_fill(symbols: Element, name: str, c: ClassDef) -> None:
    """A plain fill whose hairline has the same colour, so that no seam shows between neighbours when antialiased."""
    color = ",".join(map(str, (*c.rgb, 255)))
    symbol = SubElement(symbols, "symbol", type="fill", name=name, alpha="1", clip_to_extent="1", force_rhr="0")
    layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    properties = {
        "border_width_map_unit_scale": "3x:0,0,0,0,0,0",
        "color": color,
        "joinstyle": "bevel",
        "offset": "0,0",
        "offset_map_unit_scale": "3x:0,0,0,0,0,0",
        "offset_unit": "MM",
        "outline_color": color,
        "outline_style": "solid",
        "outline_width": "0",
        "outline_width_unit": "MM",
        "style": "solid",
    }
    # QGIS from 3.16 on reads <Option>, older ones and some other readers of QML only <prop>.
    options = SubElement(layer, "Option", type="Map")
    for key, value in properties.items():
        SubElement(options, "Option", name=key, type="QString", value=value)
    for key, value in properties.items():
        SubElement(layer, "prop", k=key, v=value)


def _attribute_table(legend: Legend, counts: Mapping[int, int]) -> Element:
    table = Element("GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_RAT_COLUMNS):
        field = SubElement(table, "FieldDefn", index=str(index))
        SubElement(field, "Name").text = name
        SubElement(field, "Type").text = str(kind)
        SubElement(field, "Usage").text = str(usage)
    for index, c in enumerate(sorted(legend, key=lambda c: c.id)):
        row = SubElement(table, "Row", index=str(index))
        for value in (c.id, int(counts.get(c.id, 0)), c.name, *c.rgb, 255):
            SubElement(row, "F").text = str(value)
    return table


def _read_attribute_table(table: Element) -> tuple[dict[int, str], dict[int, str | None]]:
    fields = [((f.findtext("Name") or "").strip().lower(), f.findtext("Usage")) for f in table.findall("FieldDefn")]
    value_at = _column(fields, ("5", "3"), ("value", "val", "id", "class_id"))
    name_at = _column(fields, ("2",), ("class", "class_name", "classname", "name", "label", "category"))
    rgb_at = [_column(fields, (usage,), (name,)) for usage, name in (("6", "red"), ("7", "green"), ("8", "blue"))]
    names: dict[int, str] = {}
    colors: dict[int, str | None] = {}
    for row in table.findall("Row") if value_at is not None else []:
        cells = [(f.text or "").strip() for f in row.findall("F")]
        value = _integer(_cell(cells, value_at))
        if value is None:
            continue
        if _cell(cells, name_at):
            names[value] = _cell(cells, name_at)
        color = _hex(_cell(cells, at) for at in rgb_at)
        if color is not None:
            colors[value] = color
    return names, colors


def _column(fields: list[tuple[str, str | None]], usages: Iterable[str], names: Iterable[str]) -> int | None:
    """Index of the column with the first of ``usages`` that occurs, else with the first of ``names``."""
    by_usage = [i for u in usages for i, (_, usage) in enumerate(fields) if usage == u]
    by_name = [i for n in names for i, (name, _) in enumerate(fields) if name == n]
    return next(iter(by_usage + by_name), None)


def _cell(cells: list[str], index: int | None) -> str:
    return cells[index] if index is not None and index < len(cells) else ""


def _integer(text: str) -> int | None:
    """The whole number that ``text`` says, also as ``7.0``; None for anything else."""
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if math.isfinite(number) and number == int(number) else None


def _hex(parts: Iterable[str]) -> str | None:
    """``#rrggbb`` of three numbers 0..255 in text; None where one is missing or out of range."""
    values = [_integer(p) for p in parts]
    if any(v is None or not 0 <= v <= 255 for v in values):
        return None
    return "#" + "".join(f"{v:02x}" for v in values)
