"""Rasters: scenes in, class and confidence rasters out and in again."""

from geoseg.rasters.classes import ClassRaster, ConfidenceRaster, open_class_raster, open_confidence
from geoseg.rasters.companions import (
    CONFIDENCE_SUFFIX,
    LABELS_SUFFIX,
    open_confidence_beside,
    open_named_confidence,
)
from geoseg.rasters.legends import describe_classes, legend_of, read_legend
from geoseg.rasters.mosaic import MosaicScene, open_mosaic
from geoseg.rasters.publishing import check_output, refuse_inputs
from geoseg.rasters.reading import FileScene, open_quietly, open_scene
from geoseg.rasters.resampling import resampled
from geoseg.rasters.scenes import Scene
from geoseg.rasters.streams import RasterWriter
from geoseg.rasters.validity import Pixels
from geoseg.rasters.warping import open_class_raster_on, same_grid
from geoseg.rasters.writing import (
    CONFIDENCE_NODATA,
    CONFIDENCE_SCALE,
    run_of,
    write_class_raster,
    write_confidence_raster,
    write_share_raster,
)

__all__ = [
    "CONFIDENCE_NODATA",
    "CONFIDENCE_SCALE",
    "CONFIDENCE_SUFFIX",
    "LABELS_SUFFIX",
    "ClassRaster",
    "ConfidenceRaster",
    "FileScene",
    "MosaicScene",
    "Pixels",
    "RasterWriter",
    "Scene",
    "check_output",
    "describe_classes",
    "legend_of",
    "open_class_raster",
    "open_class_raster_on",
    "open_confidence",
    "open_confidence_beside",
    "open_mosaic",
    "open_named_confidence",
    "open_quietly",
    "open_scene",
    "read_legend",
    "refuse_inputs",
    "resampled",
    "run_of",
    "same_grid",
    "write_class_raster",
    "write_confidence_raster",
    "write_share_raster",
]
