"""Vectorizing on Dask: the polygons of the local run in its order, and what is not to be joined is told by name."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
from affine import Affine
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from strips import rasters

from geoseg.distributed.agreeing import comparable, refuse_unlike
from geoseg.errors import (
    ClusterError,
    CorruptRasterError,
    OutputError,
    ParameterError,
    RasterError,
    UnfinishedError,
)
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.parts import Run
from geoseg.rasters import ClassRaster, write_class_raster, write_confidence_raster
from geoseg.tiling import Window
from geoseg.vectorization import orders, vectorize
from geoseg.vectorization.job import open_job
from geoseg.vectorization.settings import Settings

ROWS = 16  # of a strip
HEIGHT, WIDTH = 300, 90
UTM = pyproj.CRS.from_epsg(32633).to_wkt()
NORTH_UP = Affine(10, 0, 500000, 0, -10, 5000000)
LEGEND = Legend.from_names(["Water", "Forest", "Crops", "Built"])


def make_labels() -> NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    scores = [ndimage.gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), 2) for _ in LEGEND]
    labels = (np.argmax(scores, axis=0) + 1).astype(np.uint8)
    labels[:10, :15] = 0
    labels[250:262, 40:44] = 0
    return labels


def save(folder: Path, labels: NDArray[np.uint8], *, crs: str = UTM, place: Affine = NORTH_UP) -> Path:
    path, grid = folder / "lc.tif", Grid(pyproj.CRS(crs).to_wkt(), place, *labels.shape)
    with write_class_raster(path, grid, LEGEND, overwrite=True) as writer:
        writer.write(Window(0, 0, *labels.shape), labels)
    return path


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    return save(tmp_path, make_labels())


@pytest.fixture(scope="module")
def lone_client() -> Iterator[Client]:
    """A Dask client of one worker."""
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as found,
    ):
        yield found


def features(path: Path) -> list[list[tuple[Any, ...]]]:
    """All rows of all layers in their order, geometries as they are stored, to the bit."""
    if path.suffix != ".gpkg":
        found = geopandas.read_parquet(path) if path.suffix == ".parquet" else pyogrio.read_dataframe(path)
        return [[(*row[:-1], row[-1].wkb) for row in found.astype(object).itertuples(index=False)]]
    with closing(sqlite3.connect(path)) as connection:
        layers = connection.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'features'").fetchall()
        return [connection.execute(f'SELECT * FROM "{name}" ORDER BY fid').fetchall() for (name,) in layers]


def both(raster: Path, client: Client, region_parts: int | None = None, suffix: str = ".gpkg", **choices: Any) -> None:
    """See that both give the same, and that nothing is left."""
    (raster.parent / "local").mkdir(exist_ok=True)
    (raster.parent / "there").mkdir(exist_ok=True)
    choices = {"strip_height": ROWS, "overwrite": True} | choices
    local = vectorize(raster, raster.parent / "local" / f"m{suffix}", **choices)
    there = vectorize(
        raster, raster.parent / "there" / f"m{suffix}", client=client, region_parts=region_parts, **choices
    )
    assert features(there) == features(local)
    assert {p.name for p in there.parent.iterdir()} == {p.name for p in local.parent.iterdir()}


def run(raster: Path, client: Client, **choices: Any) -> Path:
    return vectorize(raster, raster.with_name("map.gpkg"), strip_height=ROWS, client=client, **choices)


def parts_of(raster: Path, name: str = "map.gpkg.parts") -> list[Path]:
    return sorted(raster.with_name(name).glob("[0-9a-f]*_*.*"))


# The same polygons


@pytest.mark.parametrize("region_parts", [None, 1, pytest.param(2, marks=pytest.mark.slow), 100])
def test_polygons_are_those_of_the_local_run_in_its_order(
    raster: Path, client: Client, region_parts: int | None
) -> None:
    both(raster, client, region_parts)


CHOICES: dict[str, dict[str, Any]] = {
    "one strip": {"strip_height": 1000},
    "few rows": {"strip_height": 5, "region_parts": 7},
    "simplified": {"simplify": 15.0, "strip_height": 256},
    "smoothed": {"simplify": 15.0, "simplify_method": "douglas-peucker", "smooth": 2},
    "dissolved": {"dissolve": True},
    "layers": {"split_by_class": True},
    "classes": {"classes": ["Forest", 4]},
    "elsewhere": {"to_crs": "EPSG:4326"},
    "cut": {"max_vertices": 1000},
    "minimum": {"min_area": 700.0},
    "minima": {"min_area": {"Water": 2000.0, "*": 300.0}, "region_parts": 2},
    "holes": {"fill_holes": 3000.0, "region_parts": 3},
    "all of it": {"min_area": 700.0, "fill_holes": 3000.0, "simplify": 15.0, "smooth": 1, "to_crs": "EPSG:3857"},
    "threads": {"threads": 3, "region_parts": 5},
    "flatgeobuf": {"suffix": ".fgb"},
    "geoparquet": {"suffix": ".parquet"},
}


QUICK = ("one strip", "dissolved", "cut", "minimum", "all of it")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CHOICES])
def test_what_changes_polygons_changes_them_alike(raster: Path, client: Client, name: str) -> None:
    both(raster, client, **CHOICES[name])


@pytest.mark.slow
def test_one_worker_with_threads_does_too(raster: Path, lone_client: Client) -> None:
    both(raster, lone_client)
    both(raster, lone_client, min_area=700.0)


@pytest.mark.parametrize("named", [True, False])
def test_confidences_go_with_them(tmp_path: Path, client: Client, named: bool) -> None:
    values = np.random.default_rng(0).integers(0, 251, (HEIGHT, WIDTH)).astype(np.uint8)
    values[100:200] = 255
    grid, tags = Grid(UTM, NORTH_UP, HEIGHT, WIDTH), {} if named else {"GEOSEG_CONFIDENCE": "c.tif", "GEOSEG_RUN": "1"}
    with write_confidence_raster(tmp_path / "c.tif", grid, tags=tags) as confidence:
        confidence.write(Window(0, 0, HEIGHT, WIDTH), values)
    with write_class_raster(tmp_path / "lc.tif", grid, LEGEND, tags=tags) as writer:
        writer.write(Window(0, 0, HEIGHT, WIDTH), make_labels())
    both(tmp_path / "lc.tif", client, **({"confidence": tmp_path / "c.tif"} if named else {}))
    found = pyogrio.read_dataframe(tmp_path / "there" / "m.gpkg", layer="m")
    assert found["mean_confidence"].notna().sum() > 100


@pytest.mark.slow
@given(labels=rasters(), rows=st.integers(1, 9), region_parts=st.integers(1, 4), minimum=st.sampled_from([0.0, 250.0]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_raster_in_any_regions(
    client: Client, tmp_path: Path, labels: NDArray[np.uint8], rows: int, region_parts: int, minimum: float
) -> None:
    both(save(tmp_path, labels), client, region_parts, strip_height=rows, min_area=minimum)


# Going on


class Stop(KeyboardInterrupt):
    """The user has had enough."""


def stopped(raster: Path, client: Client, share: float = 0.4, **choices: Any) -> int:
    """A run that is stopped on the way; how many strips it leaves."""

    def progress(done: int, total: int) -> None:
        if done > share * total:
            raise Stop

    with pytest.raises(Stop):
        run(raster, client, progress=progress, region_parts=1, **choices)
    assert not raster.with_name("map.gpkg").exists()
    return len(parts_of(raster))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Windows of the strips that are traced from now on."""
    found: list[Window] = []
    write = orders.write_arrays

    def noted(run: Any, window: Window, arrays: Any) -> None:
        found.append(window)
        write(run, window, arrays)

    monkeypatch.setattr(orders, "write_arrays", noted)
    return found


@pytest.mark.parametrize("choices", [{}, {"min_area": 700.0, "fill_holes": 3000.0}])
def test_what_a_stopped_run_left_is_gone_on_with(
    raster: Path, client: Client, written: list[Window], choices: dict[str, Any]
) -> None:
    left = stopped(raster, client, share=0.8 if choices else 0.4, **choices)
    assert 3 < left < 19
    there = {int(path.name.split("_")[1]) for path in parts_of(raster)}
    written.clear()
    told: list[float] = []
    run(raster, client, progress=lambda done, total: told.append(done / total), **choices)
    assert 0 < len({w.row_off for w in written}) <= 19 - left  # a task that ran may have ended after its client
    assert not {w.row_off for w in written} & there
    assert told == sorted(told)
    assert told[-1] == 1
    local = vectorize(raster, raster.with_name("local.gpkg"), strip_height=ROWS, **choices)
    assert features(raster.with_name("map.gpkg")) == features(local)
    assert not parts_of(raster)
    assert not raster.with_name("map.gpkg.labels.parts").exists()


def test_a_damaged_part_is_noticed_and_made_anew(raster: Path, client: Client) -> None:
    stopped(raster, client)
    damaged = parts_of(raster)[2]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(OutputError, match=r"is damaged \(checksum differs\) and has been removed"):
        run(raster, client)
    assert not damaged.exists()
    run(raster, client)
    assert features(raster.with_name("map.gpkg")) == features(vectorize(raster, strip_height=ROWS))


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        pytest.param({"simplify": 5.0}, "strip_rows was 16, is 256", marks=pytest.mark.slow),
        ({"classes": ["Water"]}, r"classes was null, is \[1\]"),
        ({"to_crs": "EPSG:4326"}, "to_crs was null, is "),
        pytest.param({"max_vertices": 1000}, "max_vertices was null, is 1000", marks=pytest.mark.slow),
        ({"min_area": 500.0}, "min_area was 0.0, is 500.0"),
        pytest.param({"fill_holes": 500.0}, "fill_holes was 0.0, is 500.0", marks=pytest.mark.slow),
    ],
)
def test_parts_of_other_choices_are_refused(raster: Path, client: Client, choices: dict[str, Any], said: str) -> None:
    stopped(raster, client)
    before = parts_of(raster)
    with pytest.raises(ParameterError, match=f"parts of a run with other parameters.*{said}"):
        run(raster, client, **choices)
    assert set(before) <= set(parts_of(raster))  # a task that ran may have ended after its client
    run(raster, client, resume=False, **choices)
    assert not parts_of(raster)


def test_parts_of_another_raster_are_refused(raster: Path, client: Client) -> None:
    stopped(raster, client)
    save(raster.parent, make_labels()[::-1])
    with pytest.raises(ParameterError, match=r"raster\.modified was"):
        run(raster, client)


def test_what_only_the_client_does_may_change(raster: Path, client: Client, written: list[Window]) -> None:
    """Layers, dissolving and names concern what is made of the parts."""
    left = stopped(raster, client)
    written.clear()
    names = Legend.from_names(["a", "b", "c", "d"])
    run(raster, client, dissolve=True, split_by_class=True, legend=names)
    assert 0 < len({w.row_off for w in written}) <= 19 - left
    layers = [str(name) for name, kind in pyogrio.list_layers(raster.with_name("map.gpkg")) if kind is not None]
    assert layers == ["a", "b", "c", "d"]


def test_one_client_holds_the_parts(raster: Path, client: Client) -> None:
    refused: list[BaseException] = []

    def progress(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(OutputError, match="is being written by another run") as found:
                run(raster, client)
            refused.append(found.value)

    run(raster, client, progress=progress)
    assert refused


def test_a_local_run_tells_of_what_is_left(raster: Path, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    stopped(raster, client)
    left = parts_of(raster)
    with caplog.at_level(logging.WARNING, "geoseg"):
        vectorize(raster, raster.with_name("map.gpkg"), strip_height=ROWS)
    assert "map.gpkg.parts holds what a run on a cluster left" in caplog.text
    assert set(left) <= set(parts_of(raster))


# What fails


def test_a_damaged_block_fails_alone_and_is_named(
    raster: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ClassRaster.read

    def failing(self: ClassRaster, window: Window) -> NDArray[np.uint8]:
        if window.row_off <= 45 < window.row_end and threading.current_thread() is not threading.main_thread():
            raise CorruptRasterError("the block of row 45 cannot be decoded")
        return read(self, window)

    monkeypatch.setattr("geoseg.vectorization.strips._STRIP_PIXELS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(ClassRaster, "read", failing)
        patch.setattr(ClassRaster, "block_shape", (8, WIDTH), raising=False)
        with pytest.raises(UnfinishedError, match=r"of 19 parts failed: rows .*row 45.*worker inproc.*kept in"):
            run(raster, client, region_parts=6)
    tops = {int(path.name.split("_")[1]) for path in parts_of(raster)}
    assert {0, 16} <= tops
    assert tops >= set(range(16 * 20, HEIGHT, 16))
    assert 32 not in tops
    run(raster, client)
    assert features(raster.with_name("map.gpkg")) == features(vectorize(raster, strip_height=ROWS))


def test_a_damaged_block_ends_what_has_to_see_all_of_the_raster(
    raster: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: ClassRaster, window: Window) -> NDArray[np.uint8]:
        raise CorruptRasterError("it cannot be decoded")

    monkeypatch.setattr(ClassRaster, "read", failing)
    with pytest.raises(CorruptRasterError, match="cannot be decoded"):
        run(raster, client, min_area=500.0)
    assert not raster.with_name("map.gpkg.parts").exists()


def test_what_fails_everywhere_ends_the_run_at_once(
    raster: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(orders, "write_arrays", full)
    with pytest.raises(OutputError, match=r"the disk is full \(worker inproc"):
        run(raster, client)
    assert not raster.with_name("map.gpkg.parts").exists()


def test_values_without_a_name_are_refused(tmp_path: Path, client: Client) -> None:
    path = save(tmp_path, make_labels())
    with pytest.raises(RasterError, match="values that its legend does not name: 3, 4"):
        run(path, client, legend=Legend.from_names(["a", "b"]))


@pytest.mark.parametrize("what", ["geoseg", "raster"])
def test_workers_that_would_make_other_polygons_are_refused(
    raster: Path, client: Client, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Each worker opens the raster by itself; here one of them finds something else."""
    opened, lock = orders.open_job, threading.Lock()
    others = [2]

    class Other:
        def __init__(self, job: Any, value: object) -> None:
            self._job, self._value = job, value

        def __getattr__(self, name: str) -> Any:
            return getattr(self._job, name)

        def fingerprint(self) -> dict[str, object]:
            return self._job.fingerprint() | {what: self._value}

    from contextlib import contextmanager

    @contextmanager
    def open_another(*arguments: Any) -> Iterator[Any]:
        with opened(*arguments) as job, lock:
            others[0] -= 1
            first = others[0] == 1
        with opened(*arguments) as job:
            yield Other(job, "0.0") if first else job

    monkeypatch.setattr(orders, "open_job", open_another)
    with pytest.raises(ClusterError, match=rf'worker inproc\S* would compute other polygons.*{what} is "0\.0" and not'):
        run(raster, client)
    assert not raster.with_name("map.gpkg.parts").exists()
    if what == "geoseg":
        others[0] = 2
        run(raster, client, allow_mixed=True)
        assert features(raster.with_name("map.gpkg")) == features(vectorize(raster, strip_height=ROWS))


def test_a_raster_in_memory_cannot_go(raster: Path, client: Client) -> None:
    with rasterio.MemoryFile(raster.read_bytes(), filename="lc.tif") as memory:
        with pytest.raises(ParameterError, match="lies in the memory of this process, where no worker sees it"):
            vectorize(memory.name, raster.with_name("map.gpkg"), client=client)
        vectorize(memory.name, raster.with_name("map.gpkg"))


def test_what_travels_is_small(raster: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    sent: list[int] = []
    from geoseg.distributed.crew import Crew

    perform = Crew.perform

    def noted(self: Crew, post: str, items: Any, **options: Any) -> Any:
        for event in perform(self, post, items, **options):
            sent.append(max(len(pickle.dumps(thing)) for thing in (event.item, event.told, event.report)))
            yield event

    monkeypatch.setattr(Crew, "perform", noted)
    run(raster, client, region_parts=2, min_area=700.0)
    assert max(sent) < 3000


@pytest.mark.parametrize("choices", [{}, pytest.param({"min_area": 700.0}, marks=pytest.mark.slow)])
def test_parts_may_lie_in_an_object_store(
    raster: Path, client: Client, written: list[Window], choices: dict[str, Any]
) -> None:
    import fsspec

    store, place = fsspec.filesystem("memory"), "memory://geoseg-vectorize/below"
    left = stopped(raster, client, share=0.8 if choices else 0.4, parts_folder=place, **choices)
    assert left == 0
    there = store.glob("/geoseg-vectorize/below/map.gpkg.parts/*.npz")
    assert 3 <= len(there) < 19
    written.clear()
    run(raster, client, parts_folder=place, **choices)
    assert 0 < len({w.row_off for w in written}) <= 19 - len(there)
    assert not store.find("/geoseg-vectorize")
    local = vectorize(raster, raster.with_name("local.gpkg"), strip_height=ROWS, **choices)
    assert features(raster.with_name("map.gpkg")) == features(local)


def test_a_local_run_has_no_parts(raster: Path) -> None:
    with pytest.raises(ParameterError, match="parts_folder concerns a cluster"):
        vectorize(raster, parts_folder="there")


# Where PROJ moves points


@pytest.fixture
def shift(tmp_path: Path) -> Iterator[None]:
    """A grid from DHDN to ETRS89 that only this machine has."""
    folder = tmp_path / "proj"
    folder.mkdir()
    options = {"driver": "GTiff", "crs": "EPSG:4314", "transform": Affine(1, 0, 5, 0, -1, 56), "dtype": "float32"}
    with rasterio.open(folder / "de_adv_BETA2007.tif", "w", height=9, width=11, count=2, **options) as file:
        file.write(np.full((2, 9, 11), 3, np.float32))
        file.update_tags(TYPE="HORIZONTAL_OFFSET", AREA_OR_POINT="Point", target_crs_epsg_code="4258")
        for band, name in enumerate(("latitude_offset", "longitude_offset"), 1):
            file.set_band_description(band, name)
            file.set_band_unit(band, "arc-second")
    before = pyproj.datadir.get_data_dir()
    pyproj.datadir.append_data_dir(str(folder))
    yield
    pyproj.datadir.set_data_dir(before)


def fingerprint(raster: Path, **choices: Any) -> dict[str, object]:
    with open_job(raster, Settings(**choices)) as job:
        return job.fingerprint()


def test_a_worker_with_a_grid_that_others_lack_is_refused(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    raster = save(tmp_path, make_labels(), crs="EPSG:31467", place=Affine(10, 0, 3.5e6, 0, -10, 5.5e6))
    without = fingerprint(raster, to_crs="EPSG:4326")
    request.getfixturevalue("shift")
    found = fingerprint(raster, to_crs="EPSG:4326")
    for mixable in ((), orders.MIXABLE):
        with pytest.raises(ClusterError, match=r"DHDN to WGS 84 \(4\).* is \[.*and not null; let all see the same"):
            refuse_unlike("tcp://a", comparable(found, mixable), comparable(without, mixable), orders.MIXABLE, "it")


def test_another_proj_is_named_and_may_be_allowed(raster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = fingerprint(raster, to_crs="EPSG:3857")
    monkeypatch.setattr(pyproj, "proj_version_str", "0.1")
    monkeypatch.setattr(pyproj.CRS, "to_wkt", lambda *_, **__: "of another database")
    theirs = fingerprint(raster, to_crs="EPSG:3857")
    assert {name for name in ours if ours[name] != theirs[name]} == {"proj"}
    refuse_unlike("a", comparable(theirs, orders.MIXABLE), comparable(ours, orders.MIXABLE), orders.MIXABLE, "it")


def test_without_another_crs_proj_does_not_matter(raster: Path) -> None:
    found = fingerprint(raster)
    assert [found[name] for name in ("to_crs", "proj", "operations")] == [None, None, None]


# What is asked of this machine


def test_workers_that_share_the_cores_share_the_memory(raster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together need what each of them asks for by itself, with its share of the cores."""
    asked: list[int] = []
    monkeypatch.setattr("geoseg.vectorization.job.require_memory", lambda needed, *_: asked.append(needed))
    monkeypatch.setattr("geoseg.vectorization.job.cores", lambda: 8)
    for threads, processes in ((None, 4), (2, 1), (None, 100), (1, 1), (8, 4), (8, 1)):
        with open_job(raster, Settings(threads=threads)) as job:
            job.require_memory(processes)
    shared, one, crowded, single, chosen, alone = asked
    assert (shared, crowded, chosen) == (4 * one, 100 * single, 4 * alone)


def test_numbers_of_numpy_are_numbers(raster: Path, client: Client) -> None:
    numbers = {"min_area": {"Water": np.float32(700), "*": np.float64(300)}, "fill_holes": np.float32(500)}
    others = {"simplify": np.int64(20), "smooth": np.int8(1), "max_vertices": np.int64(1000), "threads": np.int64(2)}
    both(raster, client, strip_height=np.int64(ROWS), **numbers, **others)


# Labels of an older run


@pytest.mark.parametrize("below", [None, "there"])
def test_labels_that_an_older_run_left_are_told_of_or_removed(
    raster: Path, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, below: str | None
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    beside = raster.with_name("map.gpkg.labels.parts")
    place = beside if below is None else raster.with_name(below) / beside.name
    place.parent.mkdir(exist_ok=True)
    choices = {} if below is None else {"parts_folder": place.parent}
    monkeypatch.setattr(orders, "write_arrays", full)
    with pytest.raises(OutputError, match="the disk is full"):
        run(raster, client, min_area=700.0, **choices)
    monkeypatch.undo()
    left = sorted(place.glob("*.tif"))
    assert left
    with caplog.at_level(logging.WARNING, "geoseg"):
        run(raster, client, **choices)
    assert f"{place} holds labels that a run with --min-area or --fill-holes left" in caplog.text
    assert sorted(place.glob("*.tif")) == left
    run(raster, client, resume=False, overwrite=True, **choices)
    assert not place.exists()
    assert not beside.exists()


# Reading ahead


def test_strips_that_are_there_are_foreseen_once_and_in_order(
    raster: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = list(range(0, HEIGHT, ROWS))
    assert stopped(raster, client, share=0.999) == len(steps)
    told, foresee, content = list[list[Window]](), Run.foresee, Run.content

    def foreseen(self: Run, windows: Iterable[Window]) -> None:
        told.append(list(windows))
        foresee(self, told[-1])

    def read(self: Run, window: Window) -> bytes:
        assert window in told[-1]
        return content(self, window)

    monkeypatch.setattr(Run, "foresee", foreseen)
    monkeypatch.setattr(Run, "content", read)
    run(raster, client)
    assert [[window.row_off for window in group] for group in told] == [steps]
    told.clear()
    run(raster, client, overwrite=True)
    assert [window.row_off for group in told for window in group] == steps
