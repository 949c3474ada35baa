"""Planes of a map as xarray objects: on the coordinates of the scene, with all that says what they are."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from geoseg import __version__
from geoseg.blending.stored import FULL
from geoseg.inference.job import Job
from geoseg.legend import NODATA_ID, Legend
from geoseg.rasters import CONFIDENCE_NODATA
from geoseg.rasters.writing import LEGEND_TAG

LABELS_NAME = "landcover"

CLASS_DIM = "class"


def described(
    planes: Any, job: Job, source: xr.DataArray | xr.Dataset, dims: Sequence[Hashable]
) -> xr.DataArray | xr.Dataset:
    """The map: labels alone, or a dataset with what else was asked for.

    Args:
        planes: (…, P, H, W) uint8 of NumPy or Dask, in the order of the job's planes.
        job: What was computed.
        source: What was given: its coordinates are kept bit for bit, all but those of dimensions that the map has not,
            such as that of bands.
        dims: Names of the dimensions but P.
    """
    coords = {name: coord for name, coord in source.coords.items() if set(coord.dims) <= set(dims)}
    labels = xr.DataArray(planes[..., 0, :, :], coords, tuple(dims), LABELS_NAME, _label_attributes(job))
    found = {LABELS_NAME: labels}
    named = job.stored.planes(0)
    for k, name in enumerate(named[1:], start=1):
        found[name.replace(" ", "_")] = xr.DataArray(
            _shares(planes[..., k, :, :]), coords, tuple(dims), attrs=_share_attributes(name)
        )
    if job.stored.probabilities:
        found["probabilities"] = xr.DataArray(
            _shares(planes[..., len(named) :, :, :]),
            {**coords, CLASS_DIM: [c.name for c in job.legend]},
            (*dims[:-2], CLASS_DIM, *dims[-2:]),
            attrs=_share_attributes("probability"),
        )
    placed = {name: _georeferenced(array, source) for name, array in found.items()}
    return placed[LABELS_NAME] if len(placed) == 1 else xr.Dataset(placed, attrs=_provenance(job))


def _shares(planes: Any) -> Any:
    """Bytes as float32 shares, NaN without data."""
    return np.where(planes == CONFIDENCE_NODATA, np.float32(np.nan), planes.astype(np.float32) / np.float32(FULL))


def _georeferenced(array: xr.DataArray, source: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Tie an array to the coordinate that holds the CRS, as that of the source is."""
    members = list(source.data_vars.values()) if isinstance(source, xr.Dataset) else [source]
    name = next((found for found in map(_grid_mapping, [source, *members]) if found is not None), "spatial_ref")
    if name in source.coords:
        array.encoding["grid_mapping"] = name
    elif (crs := members[0].rio.crs) is not None:  # kept as an attribute alone
        array = array.rio.write_crs(crs)
    return array


def _grid_mapping(source: xr.DataArray | xr.Dataset) -> Any:
    return source.encoding.get("grid_mapping", source.attrs.get("grid_mapping"))


def _label_attributes(job: Job) -> dict[str, Any]:
    """No data, the legend after the CF conventions (section 3.5), and where the map comes from."""
    legend = job.legend
    return {
        "long_name": "land cover class",
        "_FillValue": np.uint8(NODATA_ID),
        **flags(legend),
        LEGEND_TAG: json.dumps(legend.to_records(), ensure_ascii=False),
        **_provenance(job),
    }


def flags(legend: Legend) -> dict[str, Any]:
    """A legend as CF attributes: values, names without blanks, and colours."""
    return {
        "flag_values": np.array(legend.ids, np.uint8),
        "flag_meanings": " ".join("_".join(c.name.split()) for c in legend),
        "flag_colors": " ".join(c.color for c in legend),
    }


def _share_attributes(name: str) -> dict[str, Any]:
    return {"long_name": name, "units": "1", "_FillValue": np.float32(np.nan)}


def _provenance(job: Job) -> Mapping[str, str]:
    """The tags of a map that are known before it is computed."""
    return {
        "GEOSEG_VERSION": __version__,
        "GEOSEG_MODEL": job.name,
        "GEOSEG_MODEL_SHA256": " ".join(m.sha256 for m in job.models),
        "GEOSEG_MODEL_LICENSE": " ".join(dict.fromkeys(m.spec.license for m in job.models)),
        # As asked for: what auto came to is known to the processes that compute.
        "GEOSEG_BACKEND": f"backend {job.settings.backend}, precision {job.settings.precision}, {job.settings.device}",
        "GEOSEG_PARAMETERS": json.dumps(job.parameters()),
    }
