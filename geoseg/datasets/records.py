"""What is known of a dataset before one of its files is read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID, Legend

UNEXPECTED = 254
"""In a lookup table: a label value that the dataset should not hold. No index: a legend has at most 254 classes."""


@dataclass(frozen=True, slots=True)
class Split:
    """One part of a dataset for one purpose.

    Attributes:
        name: ``train``, ``val`` or ``test``.
        images: How many images the whole split has; None where the dataset's own index tells.
        labelled: False where the labels are kept back by its makers.
    """

    name: str
    images: int | None
    labelled: bool = True


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """One dataset.

    Attributes:
        name: For ``--dataset``.
        title: Its own name.
        legend: Our classes, ids from 1, in the colours of its makers.
        sources: For each class of the legend, the value in the samples of torchgeo's class.
        ignored: Values in the samples of torchgeo's class that are not to be learned.
        bands: What the images hold, in order.
        gsd: Ground sample distance in metres, the finest and the coarsest.
        images: Of all splits; None where the dataset's own index tells.
        gigapixels: Pixels of all images, in thousand millions (for some about).
        license: Of images and labels.
        where: Where to get it.
        splits: Its own division.
        archives: The files to fetch and unpack.
        downloadable: Whether torchgeo can fetch it.
        subsets: Named areas that can be opened alone.
        coloured: Whether the label files hold the colours of the legend, not class values.
        submittable: Whether :func:`geoseg.datasets.write_label_images` knows the format of its benchmark.
        remark: One thing to know.
        gigabytes: Size of all images once decoded, 8 bits a sample, in GB (10⁹ bytes).

    Raises:
        ParameterError: Classes and values do not fit each other.
    """

    name: str
    title: str
    legend: Legend
    sources: tuple[int, ...]
    ignored: tuple[int, ...]
    bands: tuple[str, ...]
    gsd: tuple[float, float]
    images: int | None
    gigapixels: float
    license: str
    where: str
    splits: tuple[Split, ...]
    archives: tuple[str, ...]
    downloadable: bool = False
    subsets: tuple[str, ...] = ()
    coloured: bool = False
    submittable: bool = False
    remark: str = ""
    gigabytes: float = field(init=False)

    def __post_init__(self) -> None:
        values = (*self.sources, *self.ignored)
        if len(self.sources) != len(self.legend) or len(set(values)) != len(values):
            raise ParameterError(f"{self.name}: {len(self.legend)} classes do not fit the values {values}")
        object.__setattr__(self, "gigabytes", round(self.gigapixels * len(self.bands), 1))

    def split(self, name: str) -> Split:
        """The split called ``name``.

        Raises:
            ParameterError: There is none.
        """
        for split in self.splits:
            if split.name == name:
                return split
        raise ParameterError(f"{self.name} has no split {name!r}; it has {', '.join(s.name for s in self.splits)}")

    def require_labels(self, split: str) -> None:
        """Refuse what needs labels where there are none.

        Raises:
            ParameterError: The split has no labels, or does not exist.
        """
        if self.split(split).labelled:
            return
        others = " or ".join(s.name for s in self.splits if s.labelled and s.name != "train") or "train"
        also = f", or geoseg submission {self.name} for its benchmark" if self.submittable else ""
        raise ParameterError(f"{self.name} {split} has no public labels, so no metrics; use {others}{also}")

    def require_submission(self, split: str) -> None:
        """Refuse a split that no benchmark asks for.

        Raises:
            ParameterError: No format of a benchmark is known for it, or it does not exist.
        """
        if self.split(split).labelled or not self.submittable:
            raise ParameterError(f"{self.name} {split} has no submission format; only loveda test has one")

    def lookup(self) -> npt.NDArray[np.uint8]:
        """(256,) uint8: from torchgeo's values to indices of the legend; 255 = ignore, 254 = should not occur."""
        table = np.full(256, UNEXPECTED, np.uint8)
        table[list(self.ignored)] = IGNORE_ID
        table[list(self.sources)] = np.arange(len(self.sources))
        return table

    def __str__(self) -> str:
        fine, coarse = self.gsd
        pixel = f"{fine:g} m" if fine == coarse else f"{fine:g}–{coarse:g} m"
        count = "" if self.images is None else f"{self.images} images, "
        splits = ", ".join(s.name + ("" if s.labelled else " (no labels)") for s in self.splits)
        lines = [
            f"{self.name}: {self.title}",
            f"    {', '.join(self.bands)}, pixels of {pixel} -> {', '.join(self.legend.names)}",
            f"    {count}{self.gigabytes:g} GB decoded; splits {splits}",
            f"    licence: {self.license}",
            f"    from {self.where}" + (", or with --download" if self.downloadable else ""),
        ]
        if self.subsets:
            lines.insert(3, f"    subsets {', '.join(self.subsets)}")
        if self.remark:
            lines.append(f"    {self.remark}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class DatasetList:
    """The datasets that ``--dataset`` takes by name."""

    datasets: tuple[DatasetInfo, ...]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.datasets))
