"""What can go wrong, by kind. Each error is also the builtin a Python caller would expect.

A message is one line: what is wrong, the actual numbers, and the remedy.
"""

from __future__ import annotations


class GeosegError(Exception):
    """Base of every error geoseg raises on purpose."""


class ParameterError(GeosegError, ValueError):
    """A parameter is out of range or does not fit the others."""


class LegendError(GeosegError, ValueError):
    """A legend breaks its own rules: ids, names or colours."""


class MissingFileError(GeosegError, FileNotFoundError):
    """A file that was named does not exist or cannot be reached."""


class RasterError(GeosegError, ValueError):
    """A raster cannot be used: no raster, no bands, wrong bands, unsupported values."""


class CorruptRasterError(RasterError, OSError):
    """A block of a raster cannot be decoded."""


class LabelMismatchError(RasterError):
    """Labels do not fit their image: another size, and no place by which they could be brought onto it."""


class VectorError(GeosegError, ValueError):
    """A vector file cannot be used."""


class ModelError(GeosegError, ValueError):
    """A model is unknown, not ours, damaged, or does not fit what is asked of it."""


class OutputExistsError(GeosegError, FileExistsError):
    """The output exists and ``overwrite`` was not given."""


class OutputError(GeosegError, OSError):
    """The output cannot be written: read-only, full, locked."""


class StoreError(OutputError):
    """An object store cannot be used: no credentials, no bucket, no connection."""


class ResourceError(GeosegError, MemoryError):
    """The job needs more memory or disk than there is."""


class ClusterError(GeosegError, RuntimeError):
    """A cluster cannot be had, is lost, or its workers do not do."""


class LostError(ClusterError):
    """A cluster is gone, its scheduler or all of its workers: nothing more can be done there."""


class UnfinishedError(GeosegError, RuntimeError):
    """Parts of a job failed; all others are done and kept."""
