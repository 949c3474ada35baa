"""``geoseg vectorize``: class raster -> polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geoseg.choices import Simplification
from geoseg.cli import console
from geoseg.cli.options import (
    AllowMixed,
    Debug,
    Json,
    Overwrite,
    PartsFolder,
    RegionParts,
    Resume,
    Scheduler,
    SchedulerFile,
    TaskTimeout,
    Workers,
    cluster_choices,
    parse_minima,
)
from geoseg.cli.progress import progress_bar


def vectorize(
    raster: Annotated[
        str,
        typer.Argument(help="Class raster of geoseg predict, or any of one uint8 band.", metavar="RASTER"),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="GeoPackage (.gpkg), FlatGeobuf (.fgb) or GeoParquet (.parquet) to write.  [default: RASTER.gpkg]",
            metavar="FILE",
        ),
    ] = None,
    legend: Annotated[
        Path | None,
        typer.Option(help="Names and colours: YAML, JSON or QML.  [default: what RASTER says]", metavar="FILE"),
    ] = None,
    confidence: Annotated[
        Path | None,
        typer.Option(
            help="Confidence raster for mean_confidence.  [default: the one made with RASTER]", metavar="FILE"
        ),
    ] = None,
    min_area: Annotated[
        str | None,
        typer.Option(
            help="Merge patches below this area in m² into a neighbour; by class: building=20,forest=500.",
            metavar="M2",
        ),
    ] = None,
    fill_holes: Annotated[
        float, typer.Option(help="Fill holes in polygons below this area, in m².", min=0.0, metavar="M2")
    ] = 0.0,
    simplify: Annotated[
        float, typer.Option(help="Simplify shared borders by about this distance, in m.", min=0.0, metavar="M")
    ] = 0.0,
    simplify_method: Annotated[
        Simplification, typer.Option(help="By the area that a corner cuts off, or by distance.")
    ] = "visvalingam",
    smooth: Annotated[
        int, typer.Option(help="Cut the corners of shared borders N times.", min=0, max=5, metavar="N")
    ] = 0,
    classes: Annotated[
        str | None, typer.Option(help="Only these classes, by name or id: water,forest.", metavar="LIST")
    ] = None,
    split_by_class: Annotated[bool, typer.Option("--split-by-class", help="A layer for each class.")] = False,
    dissolve: Annotated[bool, typer.Option("--dissolve", help="One multipolygon for each class.")] = False,
    max_vertices: Annotated[
        int | None, typer.Option(help="Cut polygons with more vertices along a grid.", min=1000, metavar="N")
    ] = None,
    to_crs: Annotated[
        str | None, typer.Option(help="CRS of the polygons, e.g. EPSG:4326.  [default: the raster's]", metavar="CRS")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads that trace.  [default: one for each processor]", min=1, metavar="N")
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    region_parts: RegionParts = None,
    task_timeout: TaskTimeout = None,
    allow_mixed: AllowMixed = False,
    parts_folder: PartsFolder = None,
    resume: Resume = True,
    overwrite: Overwrite = False,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Turn a class raster into polygons without gaps and overlaps.

    Prints the path of the file.
    """
    import geoseg

    choices: dict[str, Any] = {
        "legend": legend,
        "confidence": confidence,
        "min_area": parse_minima(min_area),
        "fill_holes": fill_holes,
        "simplify": simplify,
        "simplify_method": simplify_method,
        "smooth": smooth,
        "classes": None if classes is None else [name.strip() for name in classes.split(",")],
        "split_by_class": split_by_class,
        "dissolve": dissolve,
        "max_vertices": max_vertices,
        "to_crs": to_crs,
        "threads": threads,
        "parts_folder": parts_folder,
    }
    where = cluster_choices(workers, scheduler, scheduler_file, region_parts, task_timeout, allow_mixed)
    runs = {"overwrite": overwrite, "resume": resume, **where}
    with progress_bar("vectorize") as progress:
        path = geoseg.vectorize(raster, output, progress=progress, **runs, **choices)
    if json:
        console.print_json({"output": path})
    else:
        console.print_result(str(path))
