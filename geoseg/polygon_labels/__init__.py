"""Polygons as labels: read from vector files in any CRS and drawn on the pixels of a grid."""

from geoseg.polygon_labels.classes import class_ids, id_of, ids_of, legend_of_values, plain_value
from geoseg.polygon_labels.drawing import Overlapping, PolygonLabels, open_area, open_polygon_labels
from geoseg.polygon_labels.layers import DEFAULT_FIELD, LayerSummary, VectorLayer, field_names, is_vector, open_layer
from geoseg.polygon_labels.shapes import meets

__all__ = [
    "DEFAULT_FIELD",
    "LayerSummary",
    "Overlapping",
    "PolygonLabels",
    "VectorLayer",
    "class_ids",
    "field_names",
    "id_of",
    "ids_of",
    "is_vector",
    "legend_of_values",
    "meets",
    "open_area",
    "open_layer",
    "open_polygon_labels",
    "plain_value",
]
