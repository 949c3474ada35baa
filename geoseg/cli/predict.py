"""``geoseg predict``: scenes and a model -> class rasters."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.choices import Augmentation, Backend, Precision
from geoseg.cli import console
from geoseg.cli.options import (
    AllowMixed,
    AreaOfInterest,
    Bands,
    Blending,
    Debug,
    Json,
    Overlap,
    Overwrite,
    PartsFolder,
    PixelWindow,
    RegionParts,
    Resume,
    Scheduler,
    SchedulerFile,
    TaskTimeout,
    TileSize,
    ValueRange,
    Workers,
    cluster_choices,
    parse_bands,
    parse_batch,
    parse_gsd,
    parse_numbers,
    parse_range,
    parse_window,
)
from geoseg.cli.progress import ProgressBars, duration, progress_bar

if TYPE_CHECKING:
    from geoseg.inference import Estimate, Prediction

_MIB, _GIB = 2**20, 2**30

# Of fewer label changes at tile borders the seam score is chance: a hedge along a border, and it is 20.
_TELLING = 1000


def predict(
    scene: Annotated[
        list[str],
        typer.Argument(
            help="GeoTIFF, VRT, /vsi… path or URL of the imagery; several, folders or patterns make a map each.",
            metavar="SCENE...",
        ),
    ],
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model file, a run in ./runs, or one of geoseg models; given twice, an ensemble.  [default: unet]",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Class raster to write, of many scenes a folder.  [default: SCENE_landcover.tif]",
            metavar="FILE",
        ),
    ] = None,
    mosaic: Annotated[bool, typer.Option("--mosaic", help="Read all scenes as one; needs --output.")] = False,
    bands: Bands = None,
    value_range: ValueRange = None,
    gsd: Annotated[
        str,
        typer.Option(help="Pixel size the network sees: native, auto (the model's) or metres.", metavar="SIZE"),
    ] = "native",
    aoi: AreaOfInterest = None,
    bbox: Annotated[str | None, typer.Option(help="Map only this part, in the scene's CRS.", metavar="W,S,E,N")] = None,
    bbox_crs: Annotated[str | None, typer.Option(help="CRS of --bbox, e.g. EPSG:4326.", metavar="CRS")] = None,
    window: PixelWindow = None,
    tile_size: TileSize = None,
    overlap: Overlap = None,
    blend: Blending = "hann",
    tta: Annotated[
        Augmentation, typer.Option(help="Average over 4 reflections or 8 symmetries of each tile.")
    ] = "none",
    scales: Annotated[
        str | None, typer.Option(help="Average over magnifications, e.g. 0.75,1,1.25.", metavar="LIST")
    ] = None,
    confidence: Annotated[bool, typer.Option("--confidence", help="Also write the confidence raster.")] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="A band a class in the confidence raster.")
    ] = False,
    uncertainty: Annotated[
        str | None,
        typer.Option(help="More bands in it: entropy, or mc=20 for 20 samples of dropout.", metavar="KIND"),
    ] = None,
    refine: Annotated[
        str | None,
        typer.Option(
            help="Have borders follow the imagery: crf, or with numbers crf,iterations=10,appearance=1.5m.",
            metavar="KIND",
        ),
    ] = None,
    backend: Annotated[Backend, typer.Option(help="What runs the network.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="Arithmetic of the network.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, cuda:0,1, mps.", metavar="NAME")] = "auto",
    batch: Annotated[str, typer.Option(help="Tiles per call of the network, or auto.", metavar="N")] = "auto",
    check_precision: Annotated[
        bool, typer.Option("--check-precision", help="Measure on 16 tiles how many labels differ from fp32.")
    ] = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    region_parts: RegionParts = None,
    task_timeout: TaskTimeout = None,
    allow_mixed: AllowMixed = False,
    parts_folder: PartsFolder = None,
    resume: Resume = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell tiles, memory, disk and time, and write nothing.")
    ] = False,
    overwrite: Overwrite = False,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Map the land cover of scenes.

    Prints the path of each class raster. What is finished of an interrupted run is kept, and the same command goes on.
    """
    choices: dict[str, Any] = {
        "bands": parse_bands(bands),
        "value_range": parse_range(value_range),
        "gsd": parse_gsd(gsd),
        "aoi": aoi,
        "bbox": parse_numbers(bbox, 4, "--bbox", "10.1,47.2,10.3,47.4"),
        "bbox_crs": bbox_crs,
        "window": parse_window(window),
        "tile_size": tile_size,
        "overlap": overlap,
        "blend": blend,
        "tta": tta,
        "scales": parse_numbers(scales, None, "--scales", "0.75,1,1.25") or (1.0,),
        "confidence": confidence,
        "probabilities": probabilities,
        "uncertainty": uncertainty,
        "refine": refine,
        "backend": backend,
        "precision": precision,
        "device": device,
        "batch": parse_batch(batch),
        "check_precision": check_precision,
        "parts_folder": parts_folder,
    }
    where = cluster_choices(workers, scheduler, scheduler_file, region_parts, task_timeout, allow_mixed)
    models: str | list[str] = "unet" if model is None else model[0] if len(model) == 1 else model
    runs = {"overwrite": overwrite, "resume": resume, **where}
    if dry_run:
        if where:
            raise typer.BadParameter(
                "it measures this machine alone; leave the cluster's options out", param_hint="--dry-run"
            )
        _estimate(scene, models, output, mosaic, choices, json)
    elif mosaic or _is_one(scene):
        _predict_one(scene, models, output, mosaic, choices | runs, json)
    else:
        _predict_many(scene, models, output, choices | runs, json)


def _is_one(scenes: list[str]) -> bool:
    """Whether exactly one file or URL is named."""
    name = scenes[0]
    pattern = any(c in name for c in "*?[") and "://" not in name and not Path(name).exists()
    return len(scenes) == 1 and not pattern and not Path(name).is_dir()


def _files(scenes: list[str], mosaic: bool) -> str | list[str]:
    """What is read as one scene."""
    if not mosaic:
        return scenes[0]
    import geoseg

    return geoseg.find_scenes(scenes)


def _estimate(
    scenes: list[str], models: Any, output: Path | None, mosaic: bool, choices: dict[str, Any], json: bool
) -> None:
    import geoseg

    if mosaic or _is_one(scenes):
        files = _files(scenes, mosaic)
        cost = geoseg.estimate_prediction(files, models, output, **choices)
        name = files if isinstance(files, str) else f"mosaic of {len(files)} files"
        console.print_json(cost) if json else console.print_result(f"{name}: {_told(cost)}")
        return
    failed: list[str] = []
    records: list[object] = []
    for scene in geoseg.find_scenes(scenes):
        try:
            cost = geoseg.estimate_prediction(scene, models, **choices)
        except geoseg.GeosegError as error:
            records.append({"scene": scene, "error": _fail(failed, scene, error)})
            continue
        records.append({"scene": scene, "cost": cost})
        if not json:
            console.print_result(f"{scene}: {_told(cost)}")
    _conclude(failed, records, json)


def _told(cost: Estimate) -> str:
    expected = duration(cost.seconds or 0)
    return (
        f"{cost.wanted_tiles} of {cost.tiles} tiles, {100 * cost.valid_share:.0f} % with data, {cost.parts} parts; "
        f"about {cost.memory / _GIB:.1f} GiB of memory, {cost.disk / _MIB:.0f} MiB of disk, {expected} "
        f"with {cost.backend} ({cost.reason})"
    )


def _predict_one(
    scenes: list[str], models: Any, output: Path | None, mosaic: bool, options: dict[str, Any], json: bool
) -> None:
    import geoseg

    with progress_bar("predict") as progress:
        result = geoseg.predict(_files(scenes, mosaic), models, output, progress=progress, **options)
    if json:
        console.print_json(result)
        return
    _summarize(result)
    console.print_result(str(result.labels))


def _predict_many(scenes: list[str], models: Any, output: Path | None, options: dict[str, Any], json: bool) -> None:
    import geoseg

    failed: list[str] = []
    records: list[object] = []
    with closing(
        geoseg.predict_scenes(scenes, models, output, progress=ProgressBars().open, **options)
    ) as outcomes:  # else Ctrl-C would leave those that are under way
        for outcome in outcomes:
            if outcome.prediction is None:
                error = outcome.error or geoseg.GeosegError("no reason was given")
                records.append({"scene": outcome.scene, "error": _fail(failed, outcome.scene, error)})
                continue
            records.append({"scene": outcome.scene, "prediction": outcome.prediction})
            if not json:
                _summarize(outcome.prediction)
                console.print_result(str(outcome.prediction.labels))
    _conclude(failed, records, json)


def _fail(failed: list[str], scene: str, error: Exception) -> str:
    """Note and tell that a scene failed; gives why in one line."""
    why = console.error_line(error)
    failed.append(scene)
    console.log.error("%s: %s", scene, why)
    return why


def _conclude(failed: list[str], records: list[object], json: bool) -> None:
    """The end of a list of scenes, one record each; an error where one of them failed."""
    import geoseg

    if json:
        console.print_json(records)
    if failed:
        raise geoseg.GeosegError(f"{len(failed)} of {len(records)} scenes failed: {', '.join(failed)}")


def _summarize(result: Prediction) -> None:
    """What is worth knowing of a finished map."""
    if result.confidence is not None:
        console.log.info("confidence: %s", result.confidence)
    busy = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in result.shares.items())
    enough = result.seam_score is not None and result.seam_changes >= _TELLING
    seams = f"; seam score {result.seam_score:.3f}" if enough else ""
    console.log.info("busy: %s of %s%s", busy, duration(result.seconds), seams)
