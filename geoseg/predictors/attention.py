"""The attention maps of a network as planes of scores: where its gates let the skips through."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from geoseg.errors import ModelError
from geoseg.predictors.choosing import choose
from geoseg.predictors.machine import check_device, device_name, this_machine
from geoseg.predictors.networks import TileNetwork
from geoseg.predictors.options import Loaded, NetworkOptions
from geoseg.predictors.tiles import Tiles, Wait, damaged


class AttentionMaps:
    """A network with gates under torch in fp32, as a :class:`~geoseg.predictors.Predictor` of what they let through.

    A plane for each gate, the finest first: the weights 0..1 that the pixels of its skip are multiplied with, those of
    coarser gates interpolated to the tile's pixels.

    Args:
        loaded: What to run.
        device: As :class:`~geoseg.predictors.NetworkOptions` takes it; of several devices the first.
        tile_size: Side of the tiles in pixels.

    Raises:
        ModelError: The network has no gates.
        ParameterError: There is no such device here.
    """

    def __init__(self, loaded: Loaded, device: str, tile_size: int) -> None:
        choice = choose(NetworkOptions(backend="torch", precision="fp32", device=device), this_machine())
        network: Any = loaded.network()
        if not hasattr(network, "with_attention"):
            raise ModelError(
                f"model {loaded.spec.name!r} is of {loaded.spec.architecture}, which has no attention gates; give one "
                "of attention-unet"
            )
        self.device = torch.device(choice.devices[0])
        check_device(self.device)
        self.gates = len(network.gates)
        self.classes = self.planes = self.gates
        self.best_batch = self.in_flight = 1
        self.reason = choice.reason
        self.description = f"torch {torch.__version__}, fp32 on {device_name(self.device)}"
        self.identity: dict[str, object] = {"attention": loaded.hash, "backend": "torch"}
        self._name, self._side = loaded.spec.name, tile_size
        self._graph = TileNetwork(loaded, network, tile_size, (tile_size,)).to(self.device)

    @torch.no_grad()
    def submit(self, tiles: Tiles) -> Wait:
        """See :class:`~geoseg.predictors.Predictor`; planes are shares, and do not sum to 1."""
        values, present = (torch.as_tensor(a).to(self.device) for a in (tiles.values, tiles.present))
        network: Any = self._graph.network
        _, maps = network.with_attention(self._graph.normalized(values, present))
        planes = torch.cat([self._enlarged(weights, level) for level, weights in enumerate(maps)], 1).contiguous()
        if not bool(torch.isfinite(planes.max())):
            raise damaged(self._name)
        return lambda: planes

    def _enlarged(self, weights: torch.Tensor, level: int) -> torch.Tensor:
        """(B, 1, T, T) of weights on a grid coarser by 2 ** level, whose last cell may reach beyond the tile."""
        if level:
            weights = F.interpolate(weights, scale_factor=2**level, mode="bilinear", align_corners=False)
        return weights[..., : self._side, : self._side]

    def close(self) -> None:
        """Give the memory back."""
        self._graph = self._graph.to("meta")
