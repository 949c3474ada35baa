"""Durable parts of a long job: what a killed run leaves behind, and what the next one goes on from."""

from geoseg.parts.runs import Run, open_run

__all__ = ["Run", "open_run"]
