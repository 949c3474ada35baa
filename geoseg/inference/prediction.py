"""predict(): a scene and a model in, a georeferenced class raster out."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg.config import ModelSpec
from geoseg.errors import ParameterError
from geoseg.inference.checks import check_bands, scaled_stats, warn_if_unlike_training
from geoseg.inference.outputs import RowSink, output_paths
from geoseg.inference.streaming import FinishedRows, predict_rows
from geoseg.inference.threads import in_background
from geoseg.models import file_hash, read_spec, resolve_model
from geoseg.rasters import Scene, check_output, open_scene, refuse_inputs, write_class_raster, write_confidence_raster
from geoseg.tiling import Blend, Progress, TileGrid

if TYPE_CHECKING:
    from geoseg.predictors import Predictor

_log = logging.getLogger("geoseg")

DEFAULT_TILE_SIZE = 512
_ROWS_WAITING = 2


@dataclass(frozen=True, slots=True)
class Prediction:
    """What predict() wrote.

    Attributes:
        labels: The class raster.
        confidence: The confidence raster, if it was asked for.
        model: Name of the model.
        tile_size: Side of a tile in pixels.
        overlap: Pixels that neighbouring tiles share.
        backend: What ran the network.
    """

    labels: Path
    confidence: Path | None
    model: str
    tile_size: int
    overlap: int
    backend: str


def predict(
    scene: str | Path,
    model: str | Path = "unet",
    output: str | Path | None = None,
    *,
    bands: Sequence[int] | None = None,
    tile_size: int | None = None,
    overlap: int | None = None,
    blend: Blend = "hann",
    batch: int | None = None,
    device: str = "auto",
    confidence: bool = False,
    value_range: tuple[float, float] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prediction:
    """Map the land cover of a scene.

    The class raster has exactly the scene's grid; pixels without data in the scene are 0 there. Memory depends on the
    scene's width, never on its height. Nothing stands under the final names before all is written.

    Args:
        scene: Any raster that GDAL reads: GeoTIFF, VRT, ``/vsi…``, ``https://…``, ``s3://…``.
        model: Path of a model file, name of a run in ``./runs``, or name of a built-in model.
        output: Class raster to write; default is ``<scene>_landcover.tif`` beside the scene.
        bands: 1-based bands of the scene in the order the model wants; default is all but alpha.
        tile_size: Side of a network input in pixels; default is 512 or what the model was trained on, if larger.
        overlap: Pixels that neighbouring tiles share; default is a quarter of the tile.
        blend: How overlapping tiles are weighted.
        batch: Tiles per call of the network; default is 1 on a CPU, which is fastest there, else 8.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        confidence: Also write ``<scene>_confidence.tif``: the probability of the class that was chosen.
        value_range: Scene values that stand for the model's full range, such as ``(0, 3000)`` for 16-bit reflectance.
        overwrite: Replace existing outputs, once the new ones are complete.
        progress: Told pixels done and in total.

    Returns:
        Where everything is.

    Raises:
        GeosegError: A subclass says what is wrong: the scene, the model, a parameter or the output.
    """
    if batch is not None and batch < 1:
        raise ParameterError(f"batch {batch} holds no tile; give 1 or more")
    spec_path = resolve_model(str(model))
    spec = read_spec(spec_path)
    labels_path, confidence_path = output_paths(scene, output)
    with open_scene(scene, bands) as source, ExitStack() as stack:
        outputs = (labels_path, confidence_path)[: 1 + confidence]
        refuse_inputs(outputs, [*source.files, spec_path])
        for path in outputs:
            check_output(path, overwrite)
        check_bands(source, spec)
        stats = scaled_stats(spec, value_range)
        grid = plan_tiles(source, spec, tile_size, overlap)
        warn_if_unlike_training(source, spec, value_range)
        predictor = _load_predictor(spec_path, device)
        result = Prediction(
            labels_path, confidence_path if confidence else None, spec.name, grid.tile_size, grid.overlap,
            predictor.description,
        )  # fmt: skip
        tags = _provenance(source, spec, spec_path, result, {"blend": blend, "value_range": value_range})
        labels = stack.enter_context(
            write_class_raster(labels_path, source.grid, spec.legend, tags=tags, overwrite=overwrite)
        )
        sink = RowSink(
            spec.legend,
            labels,
            stack.enter_context(write_confidence_raster(confidence_path, source.grid, tags=tags, overwrite=overwrite))
            if confidence
            else None,
        )
        rows = predict_rows(source, predictor, grid, stats, len(spec.classes), blend, batch or predictor.best_batch)
        _log.info("model %s, %s, tiles of %d px, overlap %d", spec.name, result.backend, grid.tile_size, grid.overlap)
        _write(rows, sink, source.grid.height * source.grid.width, progress)
    return result


def _load_predictor(model: Path, device: str) -> Predictor:
    # Here and not above: torch takes seconds to load, and by now it is known that the scene can be read.
    from geoseg.models import load_model
    from geoseg.predictors import TorchPredictor

    return TorchPredictor(*load_model(model), device)


def plan_tiles(scene: Scene, spec: ModelSpec, tile_size: int | None, overlap: int | None) -> TileGrid:
    """The tile grid of a scene for a model.

    Raises:
        ParameterError: A tile size that the network cannot take (names the nearest that it can), or an overlap that
            does not fit it.
    """
    multiple = spec.stride_multiple
    if tile_size is None:
        wanted = max(DEFAULT_TILE_SIZE, spec.tile_size)
        tile_size = -(-wanted // multiple) * multiple
    elif tile_size < 1 or tile_size % multiple:
        below, above = tile_size // multiple * multiple, max(1, -(-tile_size // multiple)) * multiple
        nearest = f"{below} or {above}" if below > 0 else f"{above}"
        raise ParameterError(
            f"tile size {tile_size} is not a multiple of {multiple}, as {spec.name!r} needs; give {nearest}"
        )
    elif tile_size < spec.tile_size:
        _log.warning(
            "tile size %d is smaller than the %d px that model %r was trained on: the map may suffer",
            tile_size, spec.tile_size, spec.name,
        )  # fmt: skip
    return TileGrid(scene.grid.height, scene.grid.width, tile_size, tile_size // 4 if overlap is None else overlap)


def _write(rows: Generator[FinishedRows], sink: RowSink, total: int, progress: Progress | None) -> None:
    """Drain the stream: the network runs here, the writer in a thread of its own."""
    done = 0
    # Closed before the scene is: its thread must not read from a file that is closed.
    with closing(rows), in_background(sink.write, _ROWS_WAITING) as hand_over:
        for finished in rows:
            hand_over(finished)
            done += finished.window.height * finished.window.width
            if progress is not None:
                progress(done, total)


def _provenance(
    scene: Scene, spec: ModelSpec, model_path: Path, result: Prediction, parameters: Mapping[str, object]
) -> dict[str, str]:
    """Tags that say how the map was made. The date stands here and nowhere else."""
    used = {"tile_size": result.tile_size, "overlap": result.overlap, "bands": scene.bands, **parameters}
    tags = {
        "GEOSEG_VERSION": version("geoseg"),
        "GEOSEG_RUN": secrets.token_hex(8),
        "GEOSEG_DATE": datetime.now(UTC).isoformat(timespec="seconds"),
        "GEOSEG_SCENE": Path(scene.name).name,
        "GEOSEG_MODEL": spec.name,
        "GEOSEG_MODEL_SHA256": file_hash(model_path),
        "GEOSEG_MODEL_LICENSE": spec.license,
        "GEOSEG_BACKEND": result.backend,
        "GEOSEG_PARAMETERS": json.dumps(used),
    }
    if result.confidence is not None:
        tags["GEOSEG_CONFIDENCE"] = result.confidence.name
    return tags
