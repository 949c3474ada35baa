"""Polygons to GeoPackage, FlatGeobuf and GeoParquet: streamed, indexed, styled, and whole or not at all."""

from geoseg.vectors.features import Features
from geoseg.vectors.outputs import SUFFIXES, check_output, layer_names, style_of
from geoseg.vectors.writing import VectorWriter, write_vectors

__all__ = ["SUFFIXES", "Features", "VectorWriter", "check_output", "layer_names", "style_of", "write_vectors"]
