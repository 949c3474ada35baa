"""Which models are there to predict with, and which architectures to train?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geoseg import models
from geoseg.errors import GeosegError
from geoseg.models.files import MODEL_FILE
from geoseg.models.table import Architecture, table_text


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that ``--model`` takes by name.

    Attributes:
        name: For ``--model``.
        source: Comes with geoseg, or was trained here.
        path: The file.
        purpose: What it is for, or why it cannot be read.
        bands: What it reads.
        gsd: Ground sample distance it was trained at, in metres.
        classes: Names.
        license: Of weights and training data.
    """

    name: str
    source: Literal["built-in", "run"]
    path: Path
    purpose: str
    bands: tuple[str, ...] = ()
    gsd: float | None = None
    classes: tuple[str, ...] = ()
    license: str = ""


# From small to large, and one transformer.
_WELL_KNOWN = ("mobilenet_v2", "efficientnet-b0", "resnet18", "resnet34", "resnet50", "mit_b0")


@dataclass(frozen=True, slots=True)
class ModelList:
    """Models to predict with, and architectures to train.

    Attributes:
        models: By name.
        architectures: Names, for training.
        table: What each architecture costs and is for.
        encoders: Names, for those of ``smp``; beside them ``tu-<name>`` for each network of timm.
    """

    models: tuple[ListedModel, ...]
    architectures: tuple[str, ...]
    table: tuple[Architecture, ...]
    encoders: tuple[str, ...]

    def __str__(self) -> str:
        lines = []
        for model in self.models:
            lines.append(f"{model.name} ({model.source}): {model.purpose or 'purpose not stated'}")
            pixel = "" if model.gsd is None else f", pixels of {model.gsd:.3g} m"
            if model.bands:
                lines.append(f"    {', '.join(model.bands)}{pixel} -> {', '.join(model.classes)}")
        models = "\n".join(lines) or "no models"
        shown = ", ".join(name for name in self.encoders if name in _WELL_KNOWN)
        encoders = f"encoders of smp: {len(self.encoders)}, such as {shown}, which --json lists; and tu-<name> of timm."
        return f"{models}\n\n{table_text(self.table)}\n{encoders}"


def list_models(runs: str | Path = "runs") -> ModelList:
    """List what ``--model`` takes by name.

    Args:
        runs: Folder of training runs; it need not exist.

    Returns:
        Runs first, as they win over built-in models of the same name.
    """
    from geoseg.models.smp import encoder_names  # late: torch comes with it

    table = models.describe_architectures()
    trained = sorted(Path(runs).glob(f"*/{MODEL_FILE}"))
    return ModelList(
        models=(
            *(_listed(path.parent.name, "run", path) for path in trained),
            *(_listed(name, "built-in", path) for name, path in sorted(models.builtin_models().items())),
        ),
        architectures=tuple(row.name for row in table),
        table=table,
        encoders=encoder_names(),
    )


def _listed(name: str, source: Literal["built-in", "run"], path: Path) -> ListedModel:
    try:
        spec = models.read_spec(path)
    except GeosegError as error:
        return ListedModel(name, source, path, f"cannot be read: {error}")
    return ListedModel(name, source, path, spec.purpose, spec.bands, spec.gsd, spec.legend.names, spec.license)
