"""What this machine can run networks on."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from geoseg.errors import ParameterError

# Processor flags that mean bfloat16 products in hardware; without them bfloat16 is slower than float32.
_BF16_FLAGS = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a choice of backend depends on.

    Attributes:
        bf16: The processor's instruction set for bfloat16 (``avx512_bf16``, ``amx_bf16``); empty without one.
        openvino: OpenVINO is installed.
        cuda: Number of CUDA devices.
        cuda_bf16: They compute in bfloat16.
        mps: There is an Apple GPU.
    """

    bf16: str = ""
    openvino: bool = False
    cuda: int = 0
    cuda_bf16: bool = False
    mps: bool = False


def this_machine() -> Machine:
    """The machine that this runs on."""
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Machine(
        bf16=next((flag for flag in _BF16_FLAGS if flag in _processor("flags").split()), ""),
        openvino=importlib.util.find_spec("openvino") is not None,
        cuda=cuda,
        cuda_bf16=cuda > 0 and torch.cuda.is_bf16_supported(including_emulation=False),
        mps=torch.backends.mps.is_available(),
    )


def use_threads(count: int) -> None:
    """Let torch compute in so many threads, whatever the environment said when it was loaded."""
    torch.set_num_threads(count)


def device_name(device: torch.device) -> str:
    """The device as people know it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return _processor("model name") or platform.processor() or platform.machine()
    return device.type


def check_device(device: torch.device) -> None:
    """See that a device is there.

    Raises:
        ParameterError: It is not.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(f"device {str(device)!r} cannot be used here ({reason}); try cpu") from error


def _processor(field: str) -> str:
    """A field of the first processor in /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}\t")), "")
