"""Durable parts of a long job: what a killed run leaves behind, and what the next one goes on from."""

from geoseg.parts.arrays import read_arrays, write_arrays
from geoseg.parts.runs import Run, open_run
from geoseg.parts.shared import join_run

__all__ = ["Run", "join_run", "open_run", "read_arrays", "write_arrays"]
