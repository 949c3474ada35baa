"""Small tasks on the workers of a Dask cluster: bounded, watched, and each worker opens what they share only once.

Nothing here knows what a task computes. Dask is loaded only where a cluster is asked for.
"""

from geoseg.distributed.clusters import Cluster, ClusterChoices, open_crew, split_choices
from geoseg.distributed.duties import Duty, Failure, MisfitError, Opening, Place, Report, Tell, Wanted

__all__ = [
    "Cluster",
    "ClusterChoices",
    "Duty",
    "Failure",
    "MisfitError",
    "Opening",
    "Place",
    "Report",
    "Tell",
    "Wanted",
    "open_crew",
    "split_choices",
]
