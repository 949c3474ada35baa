"""``geoseg check-data``: is this imagery, with these labels, fit to train on?"""

from __future__ import annotations

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json, parse_bands
from geoseg.cli.progress import progress_bar
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
    parse_label_values,
)


def check_data(
    *,
    config: ConfigFile = None,
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
    set_: Set = None,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Look at imagery and labels before anything is trained.

    Sizes, places, values, class shares, and all that is wrong, with numbers and files. Exit code 1 where that would
    stop a training.
    """
    import geoseg

    data = {
        "dataset": dataset, "data_dir": data_dir, "download": download, "subset": subset,
        "images": tuple(images or ()), "labels": tuple(labels or ()), "class_field": class_field, "legend": legend,
        "label_values": parse_label_values(label_values), "bands": parse_bands(bands), "unlabelled": unlabelled,
        "overlapping": overlapping, "aoi": aoi,
    }  # fmt: skip
    settings = choose_settings(config, data, {}, set_)
    with progress_bar("check data") as progress:
        found = geoseg.check_data(settings, progress=progress)
    if json:
        console.print_json(found.to_dict())
    else:
        console.print_result(str(found))
    if found.errors:
        raise typer.Exit(1)
