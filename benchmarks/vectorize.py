"""Vectorizing: geoseg against rasterio, shapely and geopandas, and against GDAL's gdal_polygonize.py.

usage: python benchmarks/vectorize.py [--quick] [--part speed|simplify|equality|memory ...] [--raster FILE ...]

Every run is a process of its own; the ways take turns. "Whole" is from the start of the process to its end, with the
imports; "work" is from the raster to the finished file, without them. Both are medians of the repetitions; what takes
long runs once. All ways read the same file and leave out its no data; geoseg also measures in equal-area metres,
stores style and legend, and writes under a temporary name. Kernels are compiled before the first run.

"Borders shared" says that every segment of a border belongs to exactly two polygons, vertex by vertex, or lies on the
edge of the valid area, which is complete: so nothing overlaps and nothing is missing. shapely's coverage_is_valid is
asked too, of more than 70,000 polygons for small ones only, as it takes many minutes for all.

With ``--raster`` the maps are the files named, and neither the generated one nor the real ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import rasterio
from common import GIB, RunError, parse, say, table
from vectorizing.maps import count_patches, make_landcover, make_mirrored, make_world, read_labels, real_maps
from vectorizing.runs import Way, in_turns, look, output_of, remove, run

PARTS = ("speed", "simplify", "equality", "memory")

SPEED_LIMIT, SIMPLIFY_LIMIT = 10, 5
TALL_LIMIT, WORLD_LIMIT = 1.10, 1e9

# Side in pixels of the triangles that simplification may cut off, and pixels below which a patch is merged.
TOLERANCE, LEAST = 2, 100

METRES_PER_DEGREE = 111_320


@dataclass(frozen=True, slots=True)
class Maps:
    """How large the generated maps are.

    Attributes:
        side: Of the land cover.
        width: Of the maps for memory.
        heights: Of those, the least first.
        world: Rows of the world.
    """

    side: int
    width: int
    heights: tuple[int, ...]
    world: int


FULL = Maps(side=10_000, width=8192, heights=(4096, 16_384), world=18_000)
QUICK = Maps(side=2000, width=1024, heights=(1024, 4096), world=1500)

GEOSEG, NAIVE = Way("geoseg", "geoseg"), Way("naive", "naive")

SPEED_WAYS = (
    GEOSEG,
    NAIVE,
    Way("naive with ragged arrays", "ragged"),
    Way("gdal_polygonize.py", None),
    Way("geoseg to FlatGeobuf", "geoseg", ".fgb"),
    Way("gdal_polygonize.py to FlatGeobuf", None, ".fgb"),
)


def warm_up(folder: Path) -> None:
    """Compile what is compiled once per installation: a first run is no measure of speed."""
    small = make_landcover(folder, 256)
    for way in (*(w for w in SPEED_WAYS if w.key == "geoseg"), _simplified("geoseg", small)):
        output = output_of(folder, way)
        try:
            run(way, small, output)
        except RunError as error:
            say(f"{way.name}: {error}")
        remove(output)


def _times(base: float | None, found: float | None) -> str | None:
    return None if base is None or found is None else f"{base / found:.1f}"


def _gib(peak: int | None) -> str | None:
    return None if peak is None else f"{peak / GIB:.3f}"


def _title(raster: Path) -> str:
    """Name, size and the number of patches counted by SciPy."""
    labels = read_labels(raster)
    return f"{raster.name}, {labels.shape[0]}×{labels.shape[1]}, {count_patches(labels)} patches"


def _pixel(raster: Path) -> float:
    """Side of a pixel in metres, roughly where it is in degrees."""
    with rasterio.open(raster) as file:
        side = abs(file.transform.a)
        return float(side * METRES_PER_DEGREE if file.crs and file.crs.is_geographic else side)


# --- the parts ------------------------------------------------------------------------------------------------------


def speed(folder: Path, maps: Sequence[Path], repeat: int) -> None:
    """Raster to polygons, nothing else."""
    for raster in maps:
        taken = in_turns(SPEED_WAYS, raster, folder, repeat)
        rows: list[list[object]] = []
        no_coverage: list[str] = []
        for way, found in taken.items():
            output, base = output_of(folder, way), taken[NAIVE]
            row = [way.name, found.whole, found.work, _times(base.whole, found.whole), _times(base.work, found.work)]
            rows.append([*row, _gib(found.peak), *_found_in(output, raster, no_coverage, way), found.note])
            remove(output)
        print(f"\n## {_title(raster)}; limit for geoseg {SPEED_LIMIT} × naive, at a lower peak")
        head = ["way", "whole, s", "work, s", "× naive, whole", "× naive, work", "peak, GiB", "MB", "polygons"]
        table([*head, "all valid", "borders shared", "coverage_is_valid", "note"], rows)
        if no_coverage:
            print(f"coverage_is_valid is False for: {', '.join(no_coverage)}.")


def _found_in(output: Path, raster: Path, no_coverage: list[str], way: Way) -> list[object]:
    """Size and checks of an output, where there is one."""
    if not output.exists():
        return [None] * 5
    try:
        found = look("coverage", raster, output, areas=False)
    except RunError as error:
        say(f"{way.name}: {error}")
        return [round(output.stat().st_size / 1e6), *[None] * 4]
    if found["coverage"] == "False":
        no_coverage.append(way.name)
    return [round(output.stat().st_size / 1e6), *(found[k] for k in ("polygons", "valid", "borders", "coverage"))]


def _simplified(key: str, raster: Path) -> Way:
    name = f"{key.split(maxsplit=1)[0]}, simplified and merged"
    return Way(name, key, options=(("tolerance", TOLERANCE), ("least", LEAST), ("pixel", _pixel(raster))))


def simplify(folder: Path, maps: Sequence[Path], repeat: int) -> None:
    """With simplification and merging of small patches, against sieve and coverage_simplify."""
    for raster in maps:
        rows: list[list[object]] = []
        ways = [_simplified(key, raster) for key in ("geoseg", "naive simplified")]
        taken = in_turns(ways, raster, folder, repeat)
        base = taken[ways[1]]
        for way, found in taken.items():
            output = output_of(folder, way)
            row = [way.name, found.whole, found.work, _times(base.whole, found.whole), _gib(found.peak)]
            rows.append([*row, *_areas_in(output, raster), found.note])
            remove(output)
        print(
            f"\n## {raster.name}: simplified by {TOLERANCE} px, patches below {LEAST} px merged; "
            f"limit for geoseg {SIMPLIFY_LIMIT} × naive, overlap 0, gap 0, a valid coverage"
        )
        head = ["way", "whole, s", "work, s", "× naive, whole", "peak, GiB", "polygons", "least, px", "overlap, px"]
        table([*head, "gap, px", "all valid", "borders shared", "coverage_is_valid", "note"], rows)


def _areas_in(output: Path, raster: Path) -> list[object]:
    if not output.exists():
        return [None] * 7
    try:
        found = look("coverage", raster, output, areas=True)
    except RunError as error:
        say(f"{output.name}: {error}")
        return [None] * 7
    return [found[name] for name in ("polygons", "least", "overlap", "gap", "valid", "borders", "coverage")]


def equality(folder: Path, maps: Sequence[Path]) -> None:
    """The polygons of geoseg against the naive ones: counts and areas of each class, and the polygons themselves."""
    rows: list[list[object]] = []
    for raster in maps:
        outputs = [output_of(folder, way) for way in (GEOSEG, NAIVE)]
        try:
            for way, output in zip((GEOSEG, NAIVE), outputs, strict=True):
                run(way, raster, output)
            found = look("equality", raster, outputs[0], other=str(outputs[1]))
            found["polygons"], found["not in the other"] = (
                " / ".join(map(str, found[name])) for name in ("polygons", "not in the other")
            )
            rows.append([raster.name, *found.values(), None])
        except RunError as error:
            say(f"{raster.name}: {error}")
            rows.append([raster.name, *[None] * 6, str(error)])
        for output in outputs:
            remove(output)
    print("\n## The same polygons: geoseg / naive")
    head = ["map", "classes", "polygons", "same counts by class", "same areas by class", "areas are the raster's"]
    table([*head, "polygons not in the other", "note"], rows)


def memory(folder: Path, maps: Maps) -> None:
    """Peak memory of geoseg at one width and several heights, and of a world."""
    landcover = make_landcover(folder, maps.side)
    rows: list[list[object]] = []
    first: dict[str, int] = {}
    for height in maps.heights:
        rows += _memory_rows(folder, make_mirrored(folder, landcover, height, maps.width), first)
    print(f"\n## Peak memory against height; limit {TALL_LIMIT} ×")
    head = ["map", "way", "polygons", "s", "Mpx/s", "peak, GiB", "× the first", "note"]
    table(head, rows)
    rows = _memory_rows(folder, make_world(folder, landcover, maps.world), {})
    print(f"\n## Peak memory of a world; limit {WORLD_LIMIT / 1e9} GB = {WORLD_LIMIT / GIB:.2f} GiB")
    table(head, rows)


def _memory_rows(folder: Path, raster: Path, first: dict[str, int]) -> list[list[object]]:
    """A row without and one with options; ``first`` keeps the peaks of the first map."""
    with rasterio.open(raster) as file:
        mpx = file.height * file.width / 1e6
    rows: list[list[object]] = []
    for way in (GEOSEG, _simplified("geoseg", raster)):
        output = output_of(folder, way)
        try:
            found = run(way, raster, output)
            times = f"{found.peak / first.setdefault(way.name, found.peak):.3f}"
            count = look("count", raster, output)["polygons"]
            rows.append([raster.name, way.name, count, found.whole, mpx / found.whole, _gib(found.peak), times, None])
        except RunError as error:
            say(f"{raster.name}, {way.name}: {error}")
            rows.append([raster.name, way.name, *[None] * 5, str(error)])
        remove(output)
    return rows


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", choices=PARTS, action="append", help="again for more; default is all")
    parser.add_argument("--raster", type=Path, action="append", help="a class raster; again for more")
    parser.add_argument("--repeat", type=int, default=3, help="default: %(default)s")


def main() -> None:
    """Run and print."""
    args = parse(__doc__, _options)
    maps, parts = QUICK if args.quick else FULL, args.part or PARTS
    say(f"about {2 if args.quick else 20} minutes")
    warm_up(args.folder)
    rasters: list[Path] = args.raster or [make_landcover(args.folder, maps.side)]
    real = [] if args.raster or args.quick else real_maps(args.folder)
    steps: dict[str, Callable[[], None]] = {
        "speed": lambda: speed(args.folder, [*rasters, *real], args.repeat),
        "simplify": lambda: simplify(args.folder, rasters, args.repeat),
        "equality": lambda: equality(args.folder, [*rasters, *real]),
        "memory": lambda: memory(args.folder, maps),
    }
    for name in parts:
        steps[name]()


if __name__ == "__main__":
    main()
