"""Where the figures of epochs go: a table, TensorBoard, and MLflow where it is asked for."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from geoseg.config.training import TrainingConfig
from geoseg.errors import GeosegError, ParameterError
from geoseg.training.results import HistoryRow
from geoseg.training.runs import EVENTS, RunFolder, whole_file


class Log(Protocol):
    """Who is told of epochs."""

    def restart(self, history: Sequence[HistoryRow]) -> None:
        """A run goes on after these epochs; what was told of later ones does not count."""

    def add(self, row: HistoryRow, history: Sequence[HistoryRow]) -> None:
        """An epoch has ended; ``history`` holds it too."""

    def close(self) -> None:
        """No more will come."""


class Table:
    """``metrics.csv``: a row an epoch, always whole."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.metrics

    def restart(self, history: Sequence[HistoryRow]) -> None:
        """See :class:`Log`."""
        rows = [row.to_dict() for row in history]
        names = list(dict.fromkeys(name for row in rows for name in row))
        with whole_file(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def add(self, row: HistoryRow, history: Sequence[HistoryRow]) -> None:
        """See :class:`Log`."""
        del row
        self.restart(history)

    def close(self) -> None:
        """See :class:`Log`."""


class Events:
    """TensorBoard's event files, in the run folder itself."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._writer: Any = None

    def restart(self, history: Sequence[HistoryRow]) -> None:
        """See :class:`Log`; the files are written anew, for TensorBoard shows every line that there ever was."""
        self.close()
        for path in self._folder.path.glob(EVENTS):
            path.unlink()
        for row in history:
            self.add(row, history)

    def add(self, row: HistoryRow, history: Sequence[HistoryRow]) -> None:
        """See :class:`Log`."""
        del history
        if self._writer is None:
            with warnings.catch_warnings():  # of TensorBoard about the libraries that it uses
                warnings.simplefilter("ignore")
                from torch.utils.tensorboard import SummaryWriter
            self._writer = SummaryWriter(str(self._folder.path))
        for name, value in _scalars(row).items():
            self._writer.add_scalar(name, value, row.epoch)
        self._writer.flush()

    def close(self) -> None:
        """See :class:`Log`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class MLflow:
    """A run on an MLflow server, or in a folder or database that it can open.

    Args:
        uri: Tracking URI.
        config: Settings, which become the run's parameters.

    Raises:
        ParameterError: MLflow is not installed, or the URI cannot be used.
    """

    def __init__(self, uri: str, config: TrainingConfig) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise ParameterError(
                "logging.mlflow needs MLflow, which is not installed: pip install 'geoseg[mlflow]'"
            ) from error
        self._uri = uri
        self._client = _reached(uri, lambda: MlflowClient(tracking_uri=uri))
        self._run = _reached(uri, lambda: self._begin(config))

    def _begin(self, config: TrainingConfig) -> str:
        found = self._client.get_experiment_by_name("geoseg")
        experiment = found.experiment_id if found is not None else self._client.create_experiment("geoseg")
        run: str = self._client.create_run(experiment, run_name=config.name).info.run_id
        for section, values in config.model_dump(mode="json").items():
            flat = values if isinstance(values, dict) else {"": values}
            for key, value in flat.items():
                self._client.log_param(run, f"{section}.{key}".rstrip("."), str(value)[:500])
        return run

    def restart(self, history: Sequence[HistoryRow]) -> None:
        """See :class:`Log`; the run that is resumed is a new one there, with all its epochs."""
        for row in history:
            self.add(row, history)

    def add(self, row: HistoryRow, history: Sequence[HistoryRow]) -> None:
        """See :class:`Log`."""
        del history

        def send() -> None:
            for name, value in _scalars(row).items():
                self._client.log_metric(self._run, _allowed(name), value, step=row.epoch)

        _reached(self._uri, send)

    def close(self) -> None:
        """See :class:`Log`."""
        _reached(self._uri, lambda: self._client.set_terminated(self._run))


def open_logs(folder: RunFolder, config: TrainingConfig) -> tuple[Log, ...]:
    """All that a run is to tell.

    Raises:
        ParameterError: MLflow is asked for and cannot be used.
    """
    uri = config.logging.mlflow
    return (Table(folder), Events(folder), *((MLflow(uri, config),) if uri else ()))


def _scalars(row: HistoryRow) -> Mapping[str, float]:
    """Figures by name; what is undefined is left out."""
    found = {"training/loss": row.loss, "training/lr": row.lr, "training/seconds": row.seconds}
    found |= {f"validation/{name}": value for name, value in row.figures.items() if value is not None}
    return found


def _allowed(name: str) -> str:
    """MLflow takes letters, digits and ``_-. :/`` in names."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)


def _reached(uri: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except GeosegError:
        raise
    except Exception as error:  # a server may fail in any way, and its client raises anything
        raise ParameterError(
            f"MLflow at {uri} cannot be used ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "leave logging.mlflow out, or give another URI"
        ) from error
