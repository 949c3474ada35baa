"""What a refinement can be told, as text and as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from geoseg.errors import ParameterError
from geoseg.tiling import Window

_LENGTHS = ("radius", "appearance", "smoothness")
"""What may be given in metres."""

_WHOLE = ("iterations", "radius")

_VALUE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(px|m)?")

_EXAMPLE = "crf, or e.g. crf,iterations=10,appearance=1.5m"

# All weights of a block on the CPU are at hand at once: this is the most that one takes.
_MOST_BYTES = 2**29

SIDE = 128
"""Side of the blocks that are refined one by one on a CPU, in pixels."""

GPU_SIDE = 512
"""The same on a GPU, which needs more pixels at once to be busy."""


@dataclass(frozen=True, slots=True)
class Crf:
    """A fully connected conditional random field, cut off at a radius.

    After Krähenbühl & Koltun 2011, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials"
    (https://arxiv.org/abs/1210.5644), whose two kernels it has, normalised by pixel as their code does; cut off as in
    Teichmann & Cipolla 2018, "Convolutional CRFs for Semantic Segmentation" (https://arxiv.org/abs/1805.04777).

    Attributes:
        iterations: Of the mean field, 1..20.
        radius: Pixels (of a square, to each side) beyond which no pixel speaks to another, 1..20.
        appearance: Standard deviation in pixels of the place in the appearance kernel: near pixels of one colour.
        colour: Standard deviation of the colour in it, root mean square over the bands, in standard deviations of the
            imagery that the model was trained on.
        smoothness: Standard deviation in pixels of the smoothness kernel: near pixels of any colour.
        appearance_weight: How much a pixel heeds the first, 0..50, against the logarithm of its own probabilities.
        smoothness_weight: How much it heeds the second, 0..50.

    Raises:
        ParameterError: A value is out of range.
    """

    iterations: int = 5
    radius: int = 3
    appearance: float = 3.0
    colour: float = 0.1
    smoothness: float = 1.5
    appearance_weight: float = 4.0
    smoothness_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("iterations", "radius"):
            value = getattr(self, name)
            if not (isinstance(value, int) and 1 <= value <= 20):
                raise ParameterError(f"crf {name} {value} is not in 1..20")
        for name in ("appearance", "colour", "smoothness"):
            value = getattr(self, name)
            if not 0.01 <= value <= 1000:
                raise ParameterError(f"crf {name} {value:g} is no width of a kernel; give 0.01..1000")
        for name in ("appearance_weight", "smoothness_weight"):
            value = getattr(self, name)
            if not 0 <= value <= 50:
                raise ParameterError(f"crf {name} {value:g} is not in 0..50")
        if self.block_bytes(1, 1, SIDE) > _MOST_BYTES:
            raise ParameterError(
                f"a crf of {self.iterations} iterations of {self.radius} px needs "
                f"{self.block_bytes(1, 1, SIDE) / 2**20:.0f} MiB a thread, {_MOST_BYTES / 2**20:.0f} at most; "
                "give fewer, or a smaller radius"
            )

    @property
    def halo(self) -> int:
        """Pixels around one beyond which nothing can change it."""
        return self.iterations * self.radius

    def around(self, area: Window, height: int, width: int) -> Window:
        """An area and its halo, as far as a scene of ``height`` × ``width`` goes."""
        top, left = max(0, area.row_off - self.halo), max(0, area.col_off - self.halo)
        bottom, right = min(height, area.row_end + self.halo), min(width, area.col_end + self.halo)
        return Window(top, left, bottom - top, right - left)

    def block_bytes(self, classes: int, bands: int, side: int) -> int:
        """What refining one block takes, about."""
        pixels = (side + 2 * self.halo) ** 2
        pairs = ((2 * self.radius + 1) ** 2 - 1) // 2
        return 4 * pixels * (pairs + 4 * classes + 2 * bands)

    def record(self) -> dict[str, object]:
        """Plain values: all that changes pixels."""
        return {"kind": "crf", **asdict(self)}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A refinement as it was asked for, before the size of a pixel is known.

    Attributes:
        numbers: What was given, by the name of an attribute of :class:`Crf`.
        metres: Those of them that are in metres.
    """

    numbers: Mapping[str, float]
    metres: frozenset[str]

    def at(self, gsd: float | None) -> Crf:
        """What that is in pixels.

        Args:
            gsd: Metres a pixel; None where it is not known.

        Raises:
            ParameterError: Metres are wanted of pixels of unknown size, or a value is out of range.
        """
        if self.metres and gsd is None:
            raise ParameterError(
                f"crf {', '.join(sorted(self.metres))} in metres needs a scene with a known pixel size; give pixels"
            )
        sizes = {name: value / gsd if name in self.metres and gsd else value for name, value in self.numbers.items()}
        if "radius" in self.metres:
            sizes["radius"] = max(1, round(sizes["radius"]))
        values: dict[str, Any] = {name: _whole(value) if name in _WHOLE else value for name, value in sizes.items()}
        try:
            return Crf(**values)
        except ParameterError as error:
            if not self.metres:
                raise
            raise ParameterError(f"{error}; a pixel here is {gsd:.3g} m") from error


def read_refinement(text: str) -> Wanted:
    """``crf``, or ``crf,iterations=10,appearance=1.5m``: names of :class:`Crf` with numbers; lengths with px or m.

    Raises:
        ParameterError: It is neither, or a value is out of range.
    """
    kind, *parts = (part.strip() for part in text.split(","))
    if kind != "crf":
        raise ParameterError(f"refine {text!r} is unknown; give {_EXAMPLE}")
    numbers: dict[str, float] = {}
    metres: set[str] = set()
    for part in parts:
        name, unit = _read_part(part, numbers)
        if unit == "m":
            metres.add(name)
    wanted = Wanted(MappingProxyType(numbers), frozenset(metres))
    if not metres:
        wanted.at(None)
    return wanted


def _whole(value: float) -> float:
    """As an integer where it is one."""
    return int(value) if float(value).is_integer() else value


def held_rows(crf: Crf) -> int:
    """Rows that are held beside those that come, a few more on a GPU: a row of blocks and its halo."""
    return SIDE + 2 * crf.halo


def _read_part(part: str, numbers: dict[str, float]) -> tuple[str, str | None]:
    known = [field.name for field in fields(Crf)]
    name, _, value = (side.strip() for side in part.partition("="))
    found = _VALUE.fullmatch(value)
    if name not in known:
        raise ParameterError(f"crf has no {name!r}; give {_EXAMPLE}; there are {', '.join(known)}")
    if found is None or (found[2] and name not in _LENGTHS):
        units = ", in px or m" if name in _LENGTHS else ""
        raise ParameterError(f"crf {name} {value!r} is no number{units}; give {_EXAMPLE}")
    if name in numbers:
        raise ParameterError(f"crf {name} is given twice; give it once")
    numbers[name] = float(found[1])
    return name, found[2]
