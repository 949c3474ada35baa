"""``geoseg attention``: a scene and an attention U-Net -> where its gates look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import console
from geoseg.cli.options import (
    AreaOfInterest,
    Bands,
    Blending,
    Debug,
    Json,
    Overlap,
    Overwrite,
    PixelWindow,
    TileSize,
    ValueRange,
    parse_bands,
    parse_range,
    parse_window,
)
from geoseg.cli.progress import progress_bar


def attention(
    scene: Annotated[str, typer.Argument(help="GeoTIFF, VRT, /vsi… path or URL of the imagery.", metavar="SCENE")],
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="A model of attention-unet: a file or a run.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Raster to write.  [default: SCENE_attention.tif]", metavar="FILE"),
    ] = None,
    bands: Bands = None,
    value_range: ValueRange = None,
    aoi: AreaOfInterest = None,
    window: PixelWindow = None,
    tile_size: TileSize = None,
    overlap: Overlap = None,
    blend: Blending = "hann",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", metavar="NAME")] = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Write where the gates of an attention U-Net look, a band for each gate.

    Prints the path of the raster.
    """
    import geoseg

    with progress_bar("attention") as progress:
        path = geoseg.write_attention(
            scene,
            model,
            output,
            bands=parse_bands(bands),
            value_range=parse_range(value_range),
            aoi=aoi,
            window=parse_window(window),
            tile_size=tile_size,
            overlap=overlap,
            blend=blend,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    if json:
        console.print_json({"output": path})
    else:
        console.print_result(str(path))
