"""What QGIS makes of our outputs by itself, as JSON. Runs under the Python that has QGIS, not in the test environment.

usage: check_outputs.py CASES.json, a list of {"name", "raster", "vector", "confidence"}; prints {name: report}
"""

import json
import os
import sys
from pathlib import Path

from qgis.core import QgsApplication, QgsFeatureSource, QgsRasterLayer, QgsVectorLayer


def main(path):
    app = QgsApplication([], False)
    app.initQgis()
    cases = json.loads(Path(path).read_text(encoding="utf-8"))
    reports = {}
    for case in cases:
        raster, vector = open_raster(case["raster"]), open_vector(case["vector"])
        reports[case["name"]] = {
            "raster": describe_raster(raster),
            "vector": describe_vector(vector),
            "confidence": describe_confidence(open_raster(case["confidence"])),
            "samples": compare(raster, vector),
        }
    print(json.dumps(reports, ensure_ascii=True), flush=True)
    os._exit(0)  # the teardown of some versions crashes


def open_raster(path):
    return QgsRasterLayer(path, Path(path).name)


def open_vector(path):
    name = Path(path).stem
    return QgsVectorLayer(path + "|layername=" + name, name, "ogr")


def describe_raster(layer):
    renderer = layer.renderer()
    entries = renderer.classes() if renderer.type() == "paletted" else []
    return {
        "valid": layer.isValid(),
        "renderer": renderer.type(),
        "legend": [[int(c.value), c.label, c.color.name()] for c in entries],
        "crs": layer.crs().authid(),
        "nodata": layer.dataProvider().sourceNoDataValue(1),
        "bands": layer.bandCount(),
        "extent": corners(layer.extent()),
    }


def describe_confidence(layer):
    renderer = layer.renderer()
    function = renderer.shader().rasterShaderFunction() if renderer.type() == "singlebandpseudocolor" else None
    return {
        "renderer": renderer.type(),
        "ramp": [i.value for i in function.colorRampItemList()] if function else [],
        "extent": corners(layer.extent()),
    }


def describe_vector(layer):
    on_open = layer.renderer().type()
    _, has_default = layer.loadDefaultStyle()
    renderer = layer.renderer()
    categories = renderer.categories() if renderer.type() == "categorizedSymbol" else []
    return {
        "valid": layer.isValid(),
        "renderer": on_open,
        "default_style": bool(has_default),
        "attribute": renderer.classAttribute() if categories else None,
        "legend": [[c.value(), c.label(), c.symbol().color().name()] for c in categories],
        "crs": layer.crs().authid(),
        "crs_name": layer.crs().description(),
        "features": layer.featureCount(),
        "names": sorted({f["class_name"] for f in layer.getFeatures()}),
        "valid_geometries": all(f.geometry().isGeosValid() for f in layer.getFeatures()),
        "spatial_index": layer.hasSpatialIndex() == QgsFeatureSource.SpatialIndexPresent,
        "styles": layer.listStylesInDatabase()[0],
        "extent": corners(layer.extent()),
    }


def compare(raster, vector):
    """The raster's class well inside each polygon that has an inside: [tried, equal]."""
    tried = equal = 0
    for feature in vector.getFeatures():
        if feature["pixel_count"] >= 25:
            inside, _ = feature.geometry().poleOfInaccessibility(feature.geometry().length() / 1000)
            value, known = raster.dataProvider().sample(inside.asPoint(), 1)
            tried += 1
            equal += known and value == feature["class_id"]
    return [tried, equal]


def corners(rectangle):
    return [rectangle.xMinimum(), rectangle.yMinimum(), rectangle.xMaximum(), rectangle.yMaximum()]


main(sys.argv[1])
