"""What a process computes a map with: one of them says it, and the others refuse to mix other pixels in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from geoseg.errors import ClusterError
from geoseg.inference.job import Job
from geoseg.inference.network import network_options

_PACKAGES = {"torch": ("torch",), "openvino": ("openvino",), "onnx": ("onnxruntime", "onnxruntime-gpu")}


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What changes pixels and is known before a network is loaded.

    Attributes:
        backend: What runs networks.
        version: Of that.
        precision: Of its arithmetic.
        device: Kind of device that it runs on.
    """

    backend: str
    version: str
    precision: str
    device: str


def arithmetic_of(job: Job) -> Arithmetic:
    """What this process computes with, ``auto`` settled.

    Raises:
        ParameterError: What is asked for cannot run here.
    """
    from geoseg.predictors.choosing import choose
    from geoseg.predictors.machine import this_machine

    choice = choose(network_options(job), this_machine())
    return Arithmetic(choice.backend, _version(choice.backend), choice.precision, choice.devices[0].partition(":")[0])


def _version(backend: str) -> str:
    """Of the first of its packages that is installed."""
    for package in _PACKAGES[backend]:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


def refuse_unlike(found: Arithmetic, agreed: Arithmetic) -> None:
    """See that this process computes with what the others do.

    Raises:
        ClusterError: It does not; names what differs.
    """
    if found == agreed:
        return
    wanted = asdict(agreed)
    told = "; ".join(f"{k} is {v} and not {wanted[k]}" for k, v in asdict(found).items() if v != wanted[k])
    raise ClusterError(
        f"this process would compute other pixels than the one that was asked first: {told}; give a backend, precision "
        "and device that all processes have, or make them alike"
    )
