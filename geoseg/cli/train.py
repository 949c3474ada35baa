"""``geoseg train``: imagery and labels -> model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json, parse_bands
from geoseg.cli.progress import duration
from geoseg.cli.training_display import training_display
from geoseg.cli.training_network import network_settings
from geoseg.cli.training_options import (
    Aoi,
    Bands,
    ClassField,
    ConfigFile,
    DataDir,
    Dataset,
    Download,
    Images,
    Labels,
    LabelValues,
    LegendFile,
    Overlapping,
    Set,
    Subset,
    Unlabelled,
    choose_settings,
    find_recipe,
    parse_label_values,
)

if TYPE_CHECKING:
    from geoseg.training.results import TrainingRun

TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]


def train(
    *,
    dataset: Dataset = None,
    data_dir: DataDir = None,
    download: Download = False,
    subset: Subset = None,
    images: Images = None,
    labels: Labels = None,
    class_field: ClassField = None,
    legend: LegendFile = None,
    label_values: LabelValues = None,
    bands: Bands = None,
    unlabelled: Unlabelled = None,
    overlapping: Overlapping = None,
    aoi: Aoi = None,
    config: ConfigFile = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Architecture, e.g. smp.deeplabv3plus; geoseg models lists them.  [default: a small U-Net]",
            metavar="NAME",
        ),
    ] = None,
    encoder_weights: Annotated[
        str | None, typer.Option(help="imagenet, efficientnet-lite0, a file, or none.", metavar="NAME|FILE")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Model to start from: a file, a run or a built-in one.", metavar="MODEL")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="How often to go through the training ground.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Chips per step and device.", min=1)] = None,
    chip_size: Annotated[int | None, typer.Option(help="Side of a chip in pixels.", min=1, metavar="PX")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.", metavar="RATE")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all that is random.", min=0)] = None,
    precision: Annotated[TrainingPrecision | None, typer.Option(help="Arithmetic of the network.")] = None,
    devices: Annotated[int | None, typer.Option(help="Number of GPUs.", min=1)] = None,
    name: Annotated[str | None, typer.Option(help="Of the run and the model.", metavar="NAME")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of training runs.", metavar="DIR")] = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run left.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")] = False,
    sets: Set = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings as YAML, and train nothing.")
    ] = False,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Train a model on a dataset by name, or on your own scenes and labels.

    Prints the path of the model file, which geoseg predict takes. Everything else lies beside it in runs/NAME.
    """
    data = {
        "dataset": dataset, "data_dir": data_dir, "download": download, "subset": subset, "images": images,
        "labels": labels, "class_field": class_field, "legend": legend, "bands": parse_bands(bands),
        "label_values": parse_label_values(label_values), "unlabelled": unlabelled, "overlapping": overlapping,
        "aoi": aoi,
    }  # fmt: skip
    plain = {
        "name": name, "trainer.epochs": epochs, "chips.batch": batch, "chips.size": chip_size, "optimizer.lr": lr,
        "trainer.seed": seed, "trainer.precision": precision, "trainer.devices": devices,
    }  # fmt: skip
    chosen = {**network_settings(config, model, encoder_weights, init, runs), **_given(plain)}
    if dataset and find_recipe(config, dataset) is None:
        chosen = {"name": dataset, **chosen}
    settings = choose_settings(config, data, chosen, sets)
    if print_config:
        from geoseg.config.loading import dump_config

        console.print_result(dump_config(settings).rstrip())
        return
    import geoseg

    console.state.checkpoint = runs / settings.name / "checkpoints" / "last.ckpt"
    older = console.run_settings(console.state.checkpoint)
    console.state.replaced = older.stat().st_mtime_ns if overwrite and older.is_file() else 0
    with training_display() as progress:
        run = geoseg.train(settings, runs=runs, resume=resume, overwrite=overwrite, progress=progress)
    _summarize(run)
    if json:
        console.print_json(run.to_dict())
    else:
        console.print_result(str(run.model))


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _summarize(run: TrainingRun) -> None:
    """The figures that one looks for first."""
    if run.judgement is not None:
        metrics = run.judgement.metrics
        for name, iou in zip(run.legend.names, metrics.iou, strict=True):
            console.log.info("  %s: IoU %s", name, _figure(iou))
        console.log.info(
            "epoch %s: mean IoU %s, overall accuracy %s",
            run.best_epoch,
            _figure(metrics.mean_iou),
            _figure(metrics.overall_accuracy),
        )
    console.log.info("report: %s; %s in all", run.report, duration(run.seconds))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
