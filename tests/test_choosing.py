"""What auto means on each kind of machine, and what is refused with what works instead."""

from __future__ import annotations

from typing import Any

import pytest

from geoseg.errors import ParameterError
from geoseg.predictors import NetworkOptions
from geoseg.predictors.choosing import choose
from geoseg.predictors.machine import Machine

LAPTOP = Machine(openvino=True)
SERVER = Machine(bf16="avx512_bf16", openvino=True)
BARE = Machine(bf16="amx_bf16")
GPU = Machine(openvino=True, cuda=2, cuda_bf16=True)
OLD_GPU = Machine(openvino=True, cuda=1)
MAC = Machine(openvino=True, mps=True)


@pytest.mark.parametrize(
    ("machine", "options", "backend", "precision", "devices", "reason"),
    [
        (SERVER, {}, "openvino", "bf16", ("cpu",), "auto: no GPU, a CPU with avx512_bf16"),
        (LAPTOP, {}, "openvino", "fp32", ("cpu",), "auto: no GPU, a CPU without bfloat16"),
        (BARE, {}, "torch", "bf16", ("cpu",), "auto: no GPU, OpenVINO is not installed, a CPU with amx_bf16"),
        (Machine(), {}, "torch", "fp32", ("cpu",), "auto: no GPU, OpenVINO is not installed, a CPU without bfloat16"),
        (GPU, {}, "torch", "bf16", ("cuda:0",), "auto: a CUDA device, which computes in bfloat16"),
        (OLD_GPU, {}, "torch", "fp16", ("cuda:0",), "auto: a CUDA device, which has no bfloat16"),
        (MAC, {}, "torch", "fp32", ("mps",), "auto: an Apple GPU"),
        (GPU, {"device": "cpu"}, "openvino", "fp32", ("cpu",), "auto: a CPU without bfloat16"),
        (GPU, {"device": "cuda:0,1"}, "torch", "bf16", ("cuda:0", "cuda:1"), "auto: which computes in bfloat16"),
        (GPU, {"backend": "openvino"}, "openvino", "fp32", ("cpu",), "auto: a CPU without bfloat16"),
        (GPU, {"precision": "int8"}, "openvino", "int8", ("cpu",), "auto: int8 runs under OpenVINO"),
        (SERVER, {"mc": 5}, "torch", "bf16", ("cpu",), "auto: no GPU, Monte Carlo dropout runs under torch, a CPU"),
        (SERVER, {"backend": "onnx"}, "onnx", "fp32", ("cpu",), "auto"),
        (SERVER, {"backend": "torch", "precision": "fp32", "device": "cpu"}, "torch", "fp32", ("cpu",), "as asked for"),
    ],
)
def test_auto(
    machine: Machine, options: dict[str, Any], backend: str, precision: str, devices: tuple[str, ...], reason: str
) -> None:
    choice = choose(NetworkOptions(**options), machine)
    assert (choice.backend, choice.precision, choice.devices) == (backend, precision, devices)
    assert choice.reason.startswith(reason)


@pytest.mark.parametrize(
    ("machine", "options", "message"),
    [
        (LAPTOP, {"device": "cuda"}, "no CUDA device; try auto or cpu"),
        (GPU, {"device": "cuda:0,2"}, "cuda:0 to cuda:1"),
        (GPU, {"device": "cuda:1,1"}, "cuda:1,1"),
        (LAPTOP, {"device": "mps"}, "no Apple GPU"),
        (BARE, {"backend": "openvino"}, "pip install openvino"),
        (BARE, {"precision": "int8"}, "pip install openvino"),
        (GPU, {"backend": "openvino", "device": "cuda"}, "OpenVINO runs on the CPU"),
        (LAPTOP, {"backend": "openvino", "precision": "bf16"}, "no bfloat16"),
        (SERVER, {"precision": "fp16"}, "fp16 runs on a GPU only"),
        (OLD_GPU, {"precision": "bf16"}, "give --precision fp16 or fp32"),
        (SERVER, {"backend": "torch", "precision": "int8"}, "int8 runs under OpenVINO"),
        (GPU, {"device": "cuda", "precision": "int8"}, "int8 runs under OpenVINO"),
        (SERVER, {"backend": "onnx", "precision": "bf16"}, "ONNX Runtime runs in fp32"),
        (GPU, {"backend": "onnx", "device": "cuda:0,1"}, "one cuda device"),
        (SERVER, {"backend": "onnx", "mc": 2}, "torch only"),
    ],
)
def test_what_cannot_be_says_what_can(machine: Machine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        choose(NetworkOptions(**options), machine)


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "tensorrt"},
        {"precision": "fp64"},
        {"tta": "rotate"},
        {"device": "cuda:0,"},
        {"device": "gpu"},
        {"scales": ()},
        {"scales": (1.0, 0.0)},
        {"scales": (float("nan"),)},
        {"mc": -1},
    ],
)
def test_options_that_there_are_not(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        NetworkOptions(**options)
