"""Labelled imagery: where it comes from, what is wrong with it, what of it is trained on, and chips of it."""

from geoseg.sources.opening import as_torchgeo, open_source
from geoseg.sources.values import LabelledPixels, Role, Sheet, Source, ground_sample_distance

__all__ = ["LabelledPixels", "Role", "Sheet", "Source", "as_torchgeo", "ground_sample_distance", "open_source"]
