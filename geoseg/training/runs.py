"""The folder of a training run: what belongs to it, and how a run begins, starts over or goes on."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.config.loading import dump_config, load_config
from geoseg.config.training import TrainingConfig
from geoseg.durable import sync
from geoseg.errors import OutputError, OutputExistsError, ParameterError
from geoseg.models.files import MODEL_FILE

try:
    import fcntl
except ImportError:  # Windows: two processes of one run are not kept apart
    fcntl = None  # type: ignore[assignment]

EVENTS = "events.out.tfevents.*"
"""What TensorBoard names its files."""

# What may change when a run goes on: what decides how long it is, and what does not decide what it learns.
_MAY_DIFFER = frozenset({"logging.mlflow", "logging.worst_chips", "chips.cache", "chips.threads", "data.download"})


@dataclass(frozen=True, slots=True)
class RunFolder:
    """``runs/<name>`` and the files in it."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "config.yaml"

    @property
    def split(self) -> Path:
        """What ground was trained on and what was judged."""
        return self.path / "split.gpkg"

    @property
    def metrics(self) -> Path:
        """A row an epoch."""
        return self.path / "metrics.csv"

    @property
    def last(self) -> Path:
        """Everything that a run goes on from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def model(self) -> Path:
        """The model file."""
        return self.path / MODEL_FILE

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def cache(self) -> Path:
        """Where decoded images are kept on disk while it trains."""
        return self.path / "cache"

    def files(self) -> list[Path]:
        """What a run leaves, as far as it is there, with what a killed one left of files under temporary names."""
        found = [p for p in self._named if p.exists()] + sorted(self.path.glob(EVENTS))
        return found + self.leftovers()

    def leftovers(self) -> list[Path]:
        """What a killed run left under temporary names."""
        return [p for own in self._named for p in sorted(own.parent.glob(f".{own.name}.*.tmp"))]

    @property
    def _named(self) -> tuple[Path, ...]:
        return self.config, self.split, self.metrics, self.last, self.best, self.model, self.report


def check_folder(folder: RunFolder, config: TrainingConfig, *, resume: bool, overwrite: bool) -> None:
    """See before any work whether the run may begin.

    Raises:
        ParameterError: Both ``resume`` and ``overwrite``; nothing to resume, or with other settings.
        OutputExistsError: The run exists, and neither was given.
        OutputError: The folder is a file or cannot be written to.
    """
    if resume and overwrite:
        raise ParameterError("resume goes on with a run and overwrite starts it over; give one of them")
    if folder.path.exists() and not folder.path.is_dir():
        raise OutputError(f"{folder.path} is a file, and would be the folder of the run; give another name")
    if resume:
        check_same(config, stored_config(folder))
    elif folder.files() and not overwrite:
        raise OutputExistsError(
            f"the run {folder.path} exists; go on with it (--resume, resume=True), start it over (--overwrite, "
            "overwrite=True), or give another name"
        )


@contextmanager
def claimed(folder: RunFolder) -> Iterator[None]:
    """Keep other processes of this machine out of a run; the claim ends with its process, however that ends.

    Raises:
        OutputError: Another process trains this very run.
    """
    if fcntl is None:
        yield
        return
    name = hashlib.sha256(os.fsencode(folder.path.absolute())).hexdigest()[:16]
    file = Path(tempfile.gettempdir()) / f"geoseg-{os.getuid()}-{name}.lock"
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"another process is training {folder.path} now; wait for it, or give another name"
            ) from error
        yield
        file.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def stored_config(folder: RunFolder) -> TrainingConfig:
    """The settings that a run was begun with.

    Raises:
        ParameterError: There is no such run.
    """
    if not folder.config.is_file():
        raise ParameterError(f"there is no run to resume in {folder.path}: {folder.config.name} is missing")
    return load_config(folder.config, ())


def check_same(given: TrainingConfig, stored: TrainingConfig) -> None:
    """A run goes on as it began; it may only become longer, and be told of in another way.

    Raises:
        ParameterError: Names what differs.
    """
    new, old = _flat(given.model_dump(mode="json")), _flat(stored.model_dump(mode="json"))
    changed = [key for key in sorted(new.keys() | old.keys()) if new.get(key) != old.get(key)]
    more = given.trainer.epochs >= stored.trainer.epochs
    wrong = [key for key in changed if key not in _MAY_DIFFER and not (key == "trainer.epochs" and more)]
    if wrong:
        listed = ", ".join(f"{key} is {new.get(key)!r} and was {old.get(key)!r}" for key in wrong)
        raise ParameterError(
            f"the run was begun with other settings: {listed}; resume it with those, or start a run of another name"
        )


def begin(folder: RunFolder, config: TrainingConfig, *, resume: bool = False) -> None:
    """Make the folder, take away what an earlier run left in it, and write the settings first of all.

    What a run that is resumed goes on from stays.

    Raises:
        OutputError: It cannot be written to.
    """
    try:
        folder.last.parent.mkdir(parents=True, exist_ok=True)
        for path in folder.leftovers() if resume else folder.files():
            path.unlink()
    except OSError as error:
        raise OutputError(f"cannot use the folder {folder.path}: {error.strerror}; give another one") from error
    with whole_file(folder.config) as temporary:
        temporary.write_text(dump_config(config), encoding="utf-8")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write to; the file stands under its own name when all of it is on disk.

    Raises:
        OutputError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); is the disk full?") from error
    finally:
        temporary.unlink(missing_ok=True)


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as ``section.key``."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and not above:
            found |= _flat(value, f"{key}.")
        else:
            found[f"{above}{key}"] = value
    return found
