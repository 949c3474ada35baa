"""Folding gives the same scores with fewer layers, whatever the network, or leaves the network alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geoseg.models import create_model
from geoseg.predictors.folding import TOLERANCE, folded


def lively(network: nn.Module) -> nn.Module:
    """Running statistics and weights of normalisation that are not those of a new network."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            if module.affine:
                module.weight.data.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.bias.data.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())


@pytest.mark.parametrize(
    ("architecture", "options", "left"),
    [
        ("unet", {"width": 4}, 0),
        ("segnet", {}, 0),
        ("smp.unet", {"encoder": "resnet18"}, 0),
        ("smp.fpn", {"encoder": "mobilenet_v2"}, 0),
        ("smp.unet", {"encoder": "tu-tf_efficientnet_lite0"}, 0),  # timm's BatchNormAct2d
    ],
)
def test_scores_stay(architecture: str, options: dict[str, object], left: int) -> None:
    torch.manual_seed(0)
    network = lively(create_model(architecture, bands=3, classes=4, **options))
    before = norms(network)
    lean = folded(network, 3, 64)
    assert (norms(network), norms(lean)) == (before, left)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected, found = network(x), lean(x)
    assert (found - expected).abs().max() <= 2 * TOLERANCE * expected.abs().max()


def test_transposed_convolutions_fold_over_their_own_axis() -> None:
    torch.manual_seed(0)
    network = lively(nn.Sequential(nn.ConvTranspose2d(3, 5, 2, stride=2), nn.BatchNorm2d(5, affine=False)))
    assert norms(folded(network, 3, 8)) == 0


class Twice(nn.Module):
    """Uses the output of a convolution before and after normalisation: nothing may be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class Shared(nn.Module):
    """One normalisation after two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.a(x)) + self.norm(self.b(x))


@pytest.mark.parametrize("kind", [Twice, Shared])
def test_what_cannot_be_folded_stays_as_it_is(kind: type[nn.Module]) -> None:
    network = lively(kind())
    assert folded(network, 3, 8) is network
