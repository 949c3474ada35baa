"""Opening labelled imagery, whatever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg.config.training import DataConfig
from geoseg.errors import ParameterError
from geoseg.sources.values import Source

if TYPE_CHECKING:
    from geoseg.sources.views import SourceDataset


def open_source(data: DataConfig) -> Source:
    """Open what the settings name: a dataset, own images and labels, or synthetic scenes.

    Raises:
        ParameterError: They name nothing, or do not fit each other.
        GeosegError: As :func:`~geoseg.sources.named.open_named` and :func:`~geoseg.sources.own.open_own` say.
    """
    # Each of them imports what the others need not: torchgeo, rasterio, the landscapes.
    if data.dataset is not None:
        from geoseg.sources.named import open_named

        return open_named(data)
    if data.images:
        from geoseg.sources.own import open_own

        return open_own(data)
    if data.synthetic is not None:
        from geoseg.sources.made import open_synthetic

        return open_synthetic(data)
    raise ParameterError(
        "no imagery is named; give a dataset (--dataset, data.dataset), own images and labels (--images and --labels) "
        "or a number of synthetic scenes (data.synthetic)"
    )


def as_torchgeo(source: Source) -> SourceDataset:
    """See a source as a torchgeo ``GeoDataset``, for its samplers, set operations and trainers.

    Raises:
        ParameterError: Its sheets have no place, or not all one CRS and size of pixels, north up.
    """
    from geoseg.sources.views import SourceDataset

    return SourceDataset(source)
