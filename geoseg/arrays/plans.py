"""What all tasks of a map are told."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg import __version__
from geoseg.arrays.scenes import ArrayScene
from geoseg.inference.job import Job


@dataclass(frozen=True, slots=True)
class ArrayPlan:
    """A map as it is described to processes and machines: a few kB, and no sample.

    Attributes:
        job: What is computed.
        scene: The scene of the job.
        name: Tells this map from others.
        version: Of the geoseg that planned it.
    """

    job: Job
    scene: ArrayScene
    name: str
    version: str = __version__
