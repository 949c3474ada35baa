"""``geoseg predict``: scene and model -> class raster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json, Overwrite, parse_bands, parse_range
from geoseg.cli.progress import progress_bar
from geoseg.tiling import Blend


def predict(
    scene: Annotated[str, typer.Argument(help="GeoTIFF, VRT, /vsi… path or URL of the imagery.", metavar="SCENE")],
    *,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model file, a run in ./runs, or one of geoseg models.")
    ] = "unet",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Class raster to write.  [default: SCENE_landcover.tif]", metavar="FILE"),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(
            help="Bands of the scene in the order the model wants, e.g. 4,3,2.  [default: all but alpha]",
            metavar="LIST",
        ),
    ] = None,
    tile_size: Annotated[
        int | None, typer.Option(help="Side of a network input in pixels.  [default: 512, or as trained]", metavar="PX")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Pixels that neighbouring tiles share.  [default: a quarter tile]", metavar="PX")
    ] = None,
    blend: Annotated[Blend, typer.Option(help="How overlapping tiles are weighted.")] = "hann",
    batch: Annotated[
        int | None, typer.Option(help="Tiles per call of the network.  [default: by device]", metavar="N")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", metavar="NAME")] = "auto",
    confidence: Annotated[bool, typer.Option("--confidence", help="Also write the confidence raster.")] = False,
    value_range: Annotated[
        str | None,
        typer.Option(help="Scene values that stand for the model's range, e.g. 0,3000.", metavar="LOW,HIGH"),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Map the land cover of a scene.

    Prints the path of the class raster.
    """
    chosen, values = parse_bands(bands), parse_range(value_range)
    import geoseg

    with progress_bar("predict") as progress:
        result = geoseg.predict(
            scene,
            model,
            output,
            bands=chosen,
            tile_size=tile_size,
            overlap=overlap,
            blend=blend,
            batch=batch,
            device=device,
            confidence=confidence,
            value_range=values,
            overwrite=overwrite,
            progress=progress,
        )
    if json:
        console.print_json(result)
        return
    if result.confidence is not None:
        console.log.info("confidence: %s", result.confidence)
    console.print_result(str(result.labels))
