"""Own images with own labels: which files, which belong together, and what the values of labels mean."""

from geoseg.sources.own.source import OwnSource, open_own

__all__ = ["OwnSource", "open_own"]
