"""What the tests of vector files share."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from geoseg.legend import Legend
from geoseg.vectors import Features, VectorWriter, write_vectors

UTM = pyproj.CRS.from_epsg(32633).to_wkt()
LEGEND = Legend.from_names(['Water & <wet> "land"', "d'Or Köln 森林"])


def encode(geometries: NDArray[np.object_]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Little-endian ISO WKB, and where each geometry begins and ends."""
    wkb = [shapely.to_wkb(g, byte_order=1, flavor="iso") for g in geometries]
    return np.frombuffer(b"".join(wkb), np.uint8), np.cumsum([0, *map(len, wkb)])


def features_of(geometries: NDArray[np.object_], confidence: bool = False) -> Features:
    """Geometries with attributes, of the classes 1 and 2 by turns."""
    count = len(geometries)
    classes = np.arange(count) % 2
    return Features(
        *encode(geometries),
        class_id=(classes + 1).astype(np.int32),
        area_m2=np.full(count, 1.5),
        perimeter_m=np.full(count, 4.5),
        pixel_count=np.full(count, 2**40, np.int64),
        mean_confidence=np.where(classes == 0, 0.25, np.nan) if confidence else None,
    )


def squares(count: int) -> NDArray[np.object_]:
    """Unit squares side by side."""
    x = np.arange(count, dtype=np.float64)
    return np.asarray(shapely.box(x, 0, x + 1, 1), object).reshape(-1)


def make_features(count: int, confidence: bool = False) -> Features:
    """Unit squares with attributes."""
    return features_of(squares(count), confidence)


def write(
    path: Path,
    *batches: Features,
    crs_wkt: str | None = UTM,
    overwrite: bool = False,
    then: Callable[[VectorWriter], object] | None = None,
) -> None:
    confidence = any(features.mean_confidence is not None for features in batches)
    with write_vectors(
        path, LEGEND, crs_wkt, confidence=confidence, description="a <test>", overwrite=overwrite
    ) as writer:
        for features in batches:
            writer.write(features)
        if then is not None:
            then(writer)


def fail(_: VectorWriter) -> None:
    raise OSError("my own")


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def names_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())
