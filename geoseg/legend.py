"""The classes of a map: id, name, colour. The one truth about classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from geoseg.errors import LegendError

NODATA_ID = 0
"""Class id of pixels without data, in every class raster."""

IGNORE_ID = 255
"""Reserved: the index that training ignores. Never a class id."""

MAX_CLASSES = 254

# Paul Tol's "muted" and "light" qualitative schemes (https://sronpersonalpages.nl/~pault/), safe for the colour-blind.
PALETTE = (
    "#117733", "#ddcc77", "#4477aa", "#cc6677", "#882255", "#44aa99", "#999933", "#aa4499",
    "#88ccee", "#332288", "#bbcc33", "#ee8866", "#77aadd", "#ffaabb", "#eedd88", "#aaaa00",
)  # fmt: skip

_COLOR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class ClassDef:
    """One class.

    Attributes:
        id: Value in class rasters, 1..254.
        name: Shown in legends; any printable text, unique within a legend.
        color: ``#rrggbb``; upper case is accepted and stored in lower case.

    Raises:
        LegendError: An attribute is out of range.
    """

    id: int
    name: str
    color: str

    def __post_init__(self) -> None:
        class_id: object = self.id  # what a caller without a type checker may have given
        if isinstance(class_id, bool) or not isinstance(class_id, int) or not NODATA_ID < class_id < IGNORE_ID:
            raise LegendError(f"class id {class_id!r} is not an integer in 1..{MAX_CLASSES}")
        name: object = self.name
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise LegendError(f"class {class_id} has no printable name: {name!r}")
        object.__setattr__(self, "color", str(self.color).lower())
        if not _COLOR.fullmatch(self.color):
            raise LegendError(f"class {self.id} ({self.name}) has colour {self.color!r}; expected #rrggbb")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue, each 0..255."""
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)


@dataclass(frozen=True, slots=True)
class Legend:
    """The classes of a map in the order of the network's output channels.

    Raises:
        LegendError: No class, more than 254, or ids or names that are not unique.
    """

    classes: tuple[ClassDef, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise LegendError(
                f"a legend holds 1..{MAX_CLASSES} classes (ids are stored as uint8 with 0 = no data and 255 = ignore), "
                f"not {len(self.classes)}; merge classes first"
            )
        for what, values in (("id", [str(c.id) for c in self.classes]), ("name", [c.name for c in self.classes])):
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise LegendError(f"class {what}s must be unique; more than once: {', '.join(twice)}")

    @classmethod
    def from_names(cls, names: Iterable[str], colors: Iterable[str] | None = None) -> Legend:
        """Number ``names`` from 1, with ``colors`` or the colour-blind-safe default palette."""
        listed = list(names)
        chosen = list(colors) if colors is not None else [_default_color(i) for i in range(len(listed))]
        if len(chosen) != len(listed):
            raise LegendError(f"{len(listed)} class names but {len(chosen)} colours")
        if len(listed) > MAX_CLASSES:
            raise LegendError(f"a legend holds at most {MAX_CLASSES} classes, not {len(listed)}; merge classes first")
        return cls(tuple(ClassDef(i, n, c) for i, (n, c) in enumerate(zip(listed, chosen, strict=True), start=1)))

    @classmethod
    def from_values(cls, values: Iterable[int]) -> Legend:
        """A legend for bare values: ``class 7`` for 7, with default colours."""
        return cls(tuple(ClassDef(v, f"class {v}", _default_color(v - 1)) for v in sorted(set(values))))

    @classmethod
    def from_records(cls, records: Iterable[Mapping[str, Any]]) -> Legend:
        """Inverse of :meth:`to_records`."""
        try:
            return cls(tuple(ClassDef(r["id"], r["name"], r["color"]) for r in records))
        except (KeyError, TypeError, AttributeError) as error:
            raise LegendError(f"a legend is a list of {{id, name, color}}; got something else ({error})") from error

    def to_records(self) -> list[dict[str, Any]]:
        """Plain dictionaries for JSON and YAML."""
        return [{"id": c.id, "name": c.name, "color": c.color} for c in self.classes]

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[ClassDef]:
        return iter(self.classes)

    @property
    def ids(self) -> tuple[int, ...]:
        """Class ids in channel order."""
        return tuple(c.id for c in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in channel order."""
        return tuple(c.name for c in self.classes)

    def name_of(self, class_id: int) -> str:
        """Name of ``class_id``.

        Raises:
            LegendError: The legend has no such class.
        """
        for c in self.classes:
            if c.id == class_id:
                return c.name
        raise LegendError(f"class id {class_id} is not in the legend ({', '.join(map(str, self.ids))})")


def _default_color(index: int) -> str:
    """Palette first; beyond it, hues spread by the golden ratio so that any count stays distinct."""
    if index < len(PALETTE):
        return PALETTE[index]
    import colorsys

    r, g, b = colorsys.hsv_to_rgb(
        (index * 0.618033988749895) % 1.0, 0.45 + 0.4 * (index % 3) / 2, 0.9 - 0.3 * (index % 2)
    )
    return f"#{round(r * 255):02x}{round(g * 255):02x}{round(b * 255):02x}"
