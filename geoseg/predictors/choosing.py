"""Which backend, precision and devices run a network, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from geoseg.errors import ParameterError
from geoseg.predictors.machine import Machine
from geoseg.predictors.options import NetworkOptions


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs.

    Attributes:
        backend: ``torch``, ``openvino`` or ``onnx``.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        devices: Names of torch devices; more than one only with CUDA.
        reason: Why, for the log.
    """

    backend: Literal["torch", "openvino", "onnx"]
    precision: Literal["fp32", "bf16", "fp16", "int8"]
    devices: tuple[str, ...]
    reason: str


def choose(options: NetworkOptions, machine: Machine) -> Choice:
    """Settle what ``auto`` means here.

    Raises:
        ParameterError: What is asked for cannot run here, or not together; says what works.
    """
    devices, why_device = _devices(options, machine)
    kind = devices[0].partition(":")[0]
    backend, why_backend = _backend(options, machine, kind)
    precision, why_precision = _precision(options, machine, kind, backend)
    reasons = [why for why in (why_device, why_backend, why_precision) if why]
    chosen = {"auto"} & {options.backend, options.precision, options.device}
    return Choice(backend, precision, devices, ("auto: " if chosen else "") + (", ".join(reasons) or "as asked for"))


def _devices(options: NetworkOptions, machine: Machine) -> tuple[tuple[str, ...], str]:
    if options.device == "auto":
        # int8, and OpenVINO at all, are for processors.
        for_cpu = options.backend in ("openvino", "onnx") or options.precision == "int8"
        if machine.cuda and not for_cpu:
            return ("cuda:0",), "a CUDA device"
        if machine.mps and not for_cpu:
            return ("mps",), "an Apple GPU"
        return ("cpu",), "" if for_cpu else "no GPU"
    kind, _, numbers = options.device.partition(":")
    if kind == "cuda":
        wanted = [int(n) for n in numbers.split(",")] if numbers else [0]
        if max(wanted) >= machine.cuda or len(set(wanted)) < len(wanted):
            there = f"cuda:0 to cuda:{machine.cuda - 1}" if machine.cuda else "no CUDA device"
            raise ParameterError(f"device {options.device!r} cannot be used here: there is {there}; try auto or cpu")
        return tuple(f"cuda:{n}" for n in wanted), ""
    if kind == "mps" and not machine.mps:
        raise ParameterError("device 'mps' cannot be used here: there is no Apple GPU; try auto or cpu")
    return (kind,), ""


def _backend(options: NetworkOptions, machine: Machine, kind: str) -> tuple[Literal["torch", "openvino", "onnx"], str]:
    _check_backend(options, kind)
    if options.precision == "int8":
        return _openvino(machine), "int8 runs under OpenVINO"
    if options.backend == "openvino":
        return _openvino(machine), ""
    if options.backend != "auto":
        return options.backend, ""
    if options.mc:
        return "torch", "Monte Carlo dropout runs under torch"
    if kind != "cpu":
        return "torch", ""
    return ("openvino", "") if machine.openvino else ("torch", "OpenVINO is not installed")


def _check_backend(options: NetworkOptions, kind: str) -> None:
    backend = options.backend
    if options.mc and backend not in ("auto", "torch"):
        raise ParameterError(f"Monte Carlo dropout runs under torch only, not {backend}; leave --backend out")
    if options.precision == "int8" and (backend not in ("auto", "openvino") or kind != "cpu" or options.mc):
        raise ParameterError("int8 runs under OpenVINO on a CPU only, without Monte Carlo dropout; try bf16")
    if backend == "openvino" and kind != "cpu":
        raise ParameterError(f"OpenVINO runs on the CPU, not on {options.device}; give --backend torch")
    if backend == "onnx" and (kind == "mps" or "," in options.device):
        raise ParameterError(f"ONNX Runtime runs on cpu or one cuda device, not on {options.device}; try torch")


def _openvino(machine: Machine) -> Literal["openvino"]:
    if not machine.openvino:
        raise ParameterError("OpenVINO is not installed here: pip install openvino; or give --backend torch")
    return "openvino"


def _precision(
    options: NetworkOptions, machine: Machine, kind: str, backend: str
) -> tuple[Literal["fp32", "bf16", "fp16", "int8"], str]:
    asked = options.precision
    if asked != "auto":
        _check_precision(asked, machine, kind, backend)
        return asked, ""
    if kind == "cuda" and backend == "torch":
        return ("bf16", "which computes in bfloat16") if machine.cuda_bf16 else ("fp16", "which has no bfloat16")
    if kind == "cpu" and backend != "onnx":
        return ("bf16", f"a CPU with {machine.bf16}") if machine.bf16 else ("fp32", "a CPU without bfloat16")
    return "fp32", ""


def _check_precision(asked: str, machine: Machine, kind: str, backend: str) -> None:
    if backend == "onnx" and asked != "fp32":
        raise ParameterError(f"ONNX Runtime runs in fp32, not {asked}; give --precision fp32, or --backend torch")
    if kind == "cpu" and asked == "fp16":
        raise ParameterError("fp16 runs on a GPU only; on a CPU give fp32 or bf16")
    if kind == "cpu" and asked == "bf16" and backend == "openvino" and not machine.bf16:
        raise ParameterError("this processor has no bfloat16 (avx512_bf16 or amx_bf16); give --precision fp32")
    if kind == "cuda" and asked == "bf16" and not machine.cuda_bf16:
        raise ParameterError("this GPU does not compute in bfloat16; give --precision fp16 or fp32")
