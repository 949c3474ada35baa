"""Durable parts of a long job: what a killed run leaves behind, and what the next one goes on from."""

from geoseg.parts.arrays import read_arrays, write_arrays
from geoseg.parts.opening import open_run
from geoseg.parts.places import PartsPlace
from geoseg.parts.runs import Run
from geoseg.parts.shared import join_run
from geoseg.parts.stores import is_begun, is_url, was_url

__all__ = [
    "PartsPlace",
    "Run",
    "is_begun",
    "is_url",
    "join_run",
    "open_run",
    "read_arrays",
    "was_url",
    "write_arrays",
]
