"""What QGIS makes of vector files by itself, as JSON. Runs under the Python that has QGIS, not in the test environment.

usage: check_layers.py FILE...; prints {file name: {layer name: report}}
"""

import json
import os
import sys
from pathlib import Path

from qgis.core import QgsApplication, QgsFeatureSource, QgsProviderRegistry, QgsVectorLayer


def main(paths):
    app = QgsApplication([], False)
    app.initQgis()
    reports = {}
    for path in paths:
        found = QgsProviderRegistry.instance().querySublayers(path)
        reports[Path(path).name] = {s.name(): describe(QgsVectorLayer(s.uri(), s.name(), "ogr")) for s in found}
    print(json.dumps(reports, ensure_ascii=True), flush=True)
    os._exit(0)  # the teardown of some versions crashes


def describe(layer):
    renderer = layer.renderer()
    categories = renderer.categories() if renderer.type() == "categorizedSymbol" else []
    return {
        "valid": layer.isValid(),
        "legend": [[c.value(), c.symbol().color().name()] for c in categories],
        "crs": layer.crs().authid(),
        "features": layer.featureCount(),
        "names": sorted({f["class_name"] for f in layer.getFeatures()}),
        "spatial_index": layer.hasSpatialIndex() == QgsFeatureSource.SpatialIndexPresent,
    }


main(sys.argv[1:])
