"""Which ground is trained on and which is kept: the result of :func:`~geoseg.sources.splits.make_split`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from geoseg.errors import ParameterError
from geoseg.sources.ground import touches
from geoseg.sources.values import Role
from geoseg.tiling import Window

Way = Literal["blocks", "file", "folder", "dataset", "none"]
"""How ground is divided; see :class:`geoseg.config.training.SplitConfig`."""


@dataclass(frozen=True, slots=True)
class SheetSplit:
    """What a sheet is for.

    Attributes:
        role: ``train`` where chips come from the sheet, beside its closed windows; ``validation`` where it is only
            judged on; None where neither, for want of labels or because all of it is closed.
        validation: Disjoint windows that the model is judged on.
        closed: Windows that no chip may touch: validation ground, also that of sheets that overlap this one, and what
            lies around it. They may overlap each other.

    Raises:
        ParameterError: Validation windows overlap.
    """

    role: Role | None
    validation: tuple[Window, ...] = ()
    closed: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        ordered = sorted(self.validation, key=lambda w: w.row_off)
        for number, window in enumerate(ordered):
            for other in ordered[number + 1 :]:
                if other.row_off >= window.row_end:
                    break
                if touches(window, other):
                    raise ParameterError(f"validation windows overlap: {window} and {other}")

    @property
    def trains(self) -> bool:
        """Whether chips come from it."""
        return self.role == "train"

    @property
    def validates(self) -> bool:
        """Whether any of it is judged on."""
        return bool(self.validation)

    def allows(self, window: Window) -> bool:
        """Whether a chip may lie there."""
        return self.trains and not any(touches(window, closed) for closed in self.closed)


@dataclass(frozen=True, slots=True)
class Split:
    """What each sheet of a source is for.

    Attributes:
        by: How the ground was divided.
        sheets: One a sheet of the source, in its order.
        block: Side of the blocks in pixels, about; None where whole sheets were chosen.
        buffer: Pixels around validation ground that neither side uses.
    """

    by: Way
    sheets: tuple[SheetSplit, ...]
    block: int | None = None
    buffer: int = 0

    def __post_init__(self) -> None:
        for what, found in (("train", self.train), ("validate", self.validation)):
            if not found:
                raise ParameterError(f"the split by {self.by} leaves nothing to {what} on")

    @property
    def train(self) -> tuple[int, ...]:
        """Numbers of the sheets that chips come from."""
        return tuple(i for i, sheet in enumerate(self.sheets) if sheet.trains)

    @property
    def validation(self) -> tuple[int, ...]:
        """Numbers of the sheets that hold validation ground."""
        return tuple(i for i, sheet in enumerate(self.sheets) if sheet.validates)
