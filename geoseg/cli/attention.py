"""``geoseg attention``: a scene and an attention U-Net -> where its gates look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json, Overwrite, parse_bands, parse_range, parse_window
from geoseg.cli.progress import progress_bar
from geoseg.tiling import Blend


def attention(
    scene: Annotated[str, typer.Argument(help="GeoTIFF, VRT, /vsi… path or URL of the imagery.", metavar="SCENE")],
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="A model of attention-unet: a file or a run.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Raster to write.  [default: SCENE_attention.tif]", metavar="FILE"),
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="Bands of the scene in the order the model wants, e.g. 4,3,2.", metavar="LIST")
    ] = None,
    value_range: Annotated[
        str | None,
        typer.Option(help="Scene values that stand for the model's range, e.g. 0,3000.", metavar="LOW,HIGH"),
    ] = None,
    aoi: Annotated[
        str | None, typer.Option(help="Vector file of polygons; outside them is no data.", metavar="FILE")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Only this part, in pixels.", metavar="ROW,COL,HEIGHT,WIDTH")
    ] = None,
    tile_size: Annotated[
        int | None, typer.Option(help="Side of a tile in pixels.  [default: 512, or as trained]", metavar="PX")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Pixels that neighbouring tiles share.  [default: by the model]", metavar="PX")
    ] = None,
    blend: Annotated[Blend, typer.Option(help="How overlapping tiles are weighted.")] = "hann",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", metavar="NAME")] = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Write where the gates of an attention U-Net look, a band for each gate.

    Prints the path of the raster.
    """
    import geoseg

    pixels = parse_window(window)
    part = None if pixels is None else (pixels[0], pixels[1], pixels[2], pixels[3])
    with progress_bar("attention") as progress:
        path = geoseg.write_attention(
            scene,
            model,
            output,
            bands=parse_bands(bands),
            value_range=parse_range(value_range),
            aoi=aoi,
            window=part,
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
