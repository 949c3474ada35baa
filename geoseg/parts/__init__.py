"""Durable parts of a long job: what a killed run leaves behind, and what the next one goes on from."""

from geoseg.parts.arrays import read_arrays, write_arrays
from geoseg.parts.opening import open_run
from geoseg.parts.runs import Run
from geoseg.parts.shared import join_run
from geoseg.parts.stores import inside, is_begun, is_url, was_url

__all__ = ["Run", "inside", "is_begun", "is_url", "join_run", "open_run", "read_arrays", "was_url", "write_arrays"]
