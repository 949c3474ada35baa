"""A split as a GeoPackage: to look at on the map, and to go on with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import shapely

from geoseg.errors import MissingFileError, VectorError
from geoseg.sources.footprints import outline
from geoseg.sources.splits.records import SheetSplit, Split, Way
from geoseg.sources.values import Role, Sheet, Source
from geoseg.tiling import Window
from geoseg.vectors.outputs import staged

_TABLE = "sheets"
_WINDOW = ["row_off", "col_off", "height", "width"]

# Sheets without a place go to layers of their own: right of and below the origin, as QGIS shows their images.
_NO_PLACE = " in pixels"


def write_split(path: str | Path, source: Source, split: Split) -> None:
    """Write the layers ``train``, ``validation`` and ``buffer`` of a GeoPackage, all of it or nothing; replaces one.

    Polygons are in the CRS of the first sheet that has one; those of sheets without go to ``train in pixels`` and so
    on. Each has the name of its sheet and its window; the table ``sheets`` holds the rest.

    Raises:
        OutputError: The file cannot be written.
    """
    by_sheet = [list(_rows(i, sheet, split.sheets[i])) for i, sheet in enumerate(source.sheets)]
    rows = [row for of_sheet in by_sheet for row in of_sheet]
    crs = next((s.grid.crs_wkt for s in source.sheets if s.grid is not None and s.grid.is_georeferenced), None)
    with staged(Path(path), overwrite=True) as temporary:
        _write(temporary, _TABLE, pd.DataFrame(_sheet_rows(source, split)))
        for name in dict.fromkeys(_layer(source.sheets[row["number"]], row["role"]) for row in rows):
            members = [row for row in rows if _layer(source.sheets[row["number"]], row["role"]) == name]
            shapes = [_shape(row, by_sheet[row["number"]], source.sheets[row["number"]], crs) for row in members]
            placed = crs if not name.endswith(_NO_PLACE) else None
            _write(temporary, name, geopandas.GeoDataFrame(pd.DataFrame(members), geometry=shapes, crs=placed))


def read_split(path: str | Path, source: Source) -> Split:
    """What :func:`write_split` wrote, for the same source.

    Raises:
        MissingFileError: There is no such file.
        VectorError: It holds no split, or that of other sheets.
    """
    if not Path(path).is_file():
        raise MissingFileError(f"there is no split at {path}")
    try:
        sheets = pyogrio.read_dataframe(path, layer=_TABLE)
        windows = [_read(path, str(name)) for name in pyogrio.list_layers(path)[:, 0] if name != _TABLE]
        found = list(sheets[["sheet", "height", "width"]].itertuples(index=False, name=None))
        wanted = [(sheet.name, sheet.height, sheet.width) for sheet in source.sheets]
        if found != wanted:
            raise VectorError(_difference(path, found, wanted))
        every = pd.concat(windows).sort_values(["number", "position"], kind="stable")
        head = sheets.iloc[0]
        by, block = str(head["by"]), int(head["block"])
        if by not in get_args(Way):
            raise VectorError(f"{path} is divided by {by!r}, which is none of {', '.join(get_args(Way))}")
        found_windows: dict[tuple[int, str], list[Window]] = {}
        for row in every[["number", "role", *_WINDOW]].itertuples(index=False, name=None):
            found_windows.setdefault((int(row[0]), str(row[1])), []).append(Window(*map(int, row[2:])))
        parts = tuple(_part(i, role, found_windows) for i, role in enumerate(sheets["role"]))
        return Split(cast("Way", by), parts, block or None, int(head["buffer"]))
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, KeyError, IndexError) as error:
        raise VectorError(f"{path} holds no split: {' '.join(str(error).split())}") from error


def _sheet_rows(source: Source, split: Split) -> list[dict[str, Any]]:
    return [
        {
            "sheet": sheet.name, "role": part.role or "none", "height": sheet.height, "width": sheet.width,
            "by": split.by, "block": split.block or 0, "buffer": split.buffer,
        }
        for sheet, part in zip(source.sheets, split.sheets, strict=True)
    ]  # fmt: skip


def _rows(number: int, sheet: Sheet, part: SheetSplit) -> Iterator[dict[str, Any]]:
    """Attributes of all polygons of a sheet."""
    layers: tuple[tuple[str, tuple[Window, ...]], ...] = (
        ("train", (sheet.window,) if part.trains else ()),
        ("validation", part.validation),
        ("buffer", part.closed),
    )
    for role, windows in layers:
        for position, w in enumerate(windows):
            place = dict(zip(_WINDOW, (w.row_off, w.col_off, w.height, w.width), strict=True))
            yield {"sheet": sheet.name, "role": role, **place, "number": number, "position": position}


def _layer(sheet: Sheet, role: str) -> str:
    return role if sheet.grid is not None and sheet.grid.is_georeferenced else role + _NO_PLACE


def _shape(row: dict[str, Any], rows: list[dict[str, Any]], sheet: Sheet, crs: str | None) -> Any:
    """The polygon of a window: less closed ground where it is for training, less validation ground in the buffer."""
    less = {"train": "buffer", "buffer": "validation", "validation": None}[row["role"]]
    whole = _polygon(row, sheet, crs)
    if less is None:
        return whole
    others = [_polygon(r, sheet, crs) for r in rows if r["role"] == less]
    rest = shapely.difference(whole, shapely.union_all(np.array(others, object)))
    return whole if rest.is_empty else rest


def _polygon(row: dict[str, Any], sheet: Sheet, crs: str | None) -> Any:
    window = Window(*(row[name] for name in _WINDOW))
    if sheet.grid is None or not sheet.grid.is_georeferenced or crs is None:
        return shapely.box(window.col_off, -window.row_end, window.col_end, -window.row_off)
    return shapely.make_valid(shapely.polygons(outline(window, sheet.grid, crs)))


def _write(path: Path, layer: str, table: Any) -> None:
    """One layer, or a table without shapes."""
    with warnings.catch_warnings():
        # A layer of ground without a place has no CRS, on purpose.
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        pyogrio.write_dataframe(table, path, layer=layer, driver="GPKG", append=path.exists())


def _read(path: str | Path, layer: str) -> pd.DataFrame:
    table: pd.DataFrame = pyogrio.read_dataframe(path, layer=layer, read_geometry=False)
    return table


def _part(number: int, role: str, windows: dict[tuple[int, str], list[Window]]) -> SheetSplit:
    validation, closed = (tuple(windows.get((number, layer), ())) for layer in ("validation", "buffer"))
    return SheetSplit(None if role == "none" else cast("Role", role), validation, closed)


def _difference(path: str | Path, found: list[Any], wanted: list[Any]) -> str:
    if len(found) != len(wanted):
        return f"{path} divides {len(found)} sheets, but the data has {len(wanted)}; start a new run"
    (name, height, width), (ours, rows, cols) = next((f, w) for f, w in zip(found, wanted, strict=True) if f != w)
    return f"{path} divides {name} ({height}×{width} px) where the data has {ours} ({rows}×{cols} px); start a new run"
