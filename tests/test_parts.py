from __future__ import annotations

import inspect
import json
import os
import random
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import OutputError, ParameterError
from geoseg.parts import Run, open_run, storage
from geoseg.parts.folders import write_durably
from geoseg.parts.stores import FolderStore, Listing
from geoseg.tiling import Window

FINGERPRINT = {"model": "abc", "tile": {"size": 512, "overlap": 128}, "bands": [1, 2, 3], "gsd": None}
PLANES = ("labels", "confidence")
FIRST, SECOND = Window(0, 0, 100, 130), Window(100, 0, 28, 130)


def planes(window: Window, count: int = 2) -> np.ndarray:
    """Pixels that are a function of where they are, as those of a prediction are."""
    rows = np.arange(window.row_off, window.row_end, dtype=np.uint64)[:, None]
    cols = np.arange(window.col_off, window.col_end, dtype=np.uint64)
    return np.stack([((rows * 7919 + cols * (31 + k) + (rows * cols >> 4)) % 251) for k in range(count)]).astype(
        np.uint8
    )


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def begin(folder: Path, *windows: Window, **options) -> str:
    """A run that wrote parts and was left."""
    with open_run(folder, FINGERPRINT, PLANES, **options) as run:
        for window in windows:
            run.write(window, planes(window), {"row": window.row_off})
        return run.id


def parts_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tif"))


# Writing, reading, going on


def test_parts_come_back_as_they_were_written(tmp_path):
    folder = tmp_path / "map.tif.parts"
    with open_run(folder, FINGERPRINT, PLANES) as run:
        assert run.created
        done = run.done
        assert done == frozenset()
        for window in (FIRST, SECOND):
            run.write(window, planes(window), {"tiles": 3, "text": "a <b> & é \x01"})
        assert run.done == done == {FIRST, SECOND}  # no copy: of 100,000 parts that takes 4 ms, and is asked for each
        name = run.id
    with open_run(folder, FINGERPRINT, PLANES) as run:
        assert not run.created
        assert (run.id, run.done, run.planes) == (name, {FIRST, SECOND}, PLANES)
        for window in (FIRST, SECOND):
            assert run.notes(window) == {"tiles": 3, "text": "a <b> & é \x01"}
            for index, plane in enumerate(PLANES):
                assert np.array_equal(run.read(window, plane), planes(window)[index])
        run.finish()
        assert run.done == frozenset()
    assert names(tmp_path) == set()


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_rows_of_any_part(tmp_path_factory, data):
    height, width = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 70))
    count = data.draw(st.integers(1, 5))
    window = Window(data.draw(st.integers(0, 10**6)), data.draw(st.integers(0, 10**6)), height, width)
    lo = data.draw(st.integers(0, height - 1))
    hi = data.draw(st.integers(lo + 1, height))
    values = planes(window, count)
    folder = tmp_path_factory.mktemp("run") / "parts"
    with open_run(folder, {}, [f"p{k}" for k in range(count)]) as run:
        run.write(window, values)
        for k in range(count):
            assert np.array_equal(run.read(window, f"p{k}", (lo, hi)), values[k, lo:hi])
        run.finish()


def test_strided_planes_are_written(tmp_path):
    values = np.ascontiguousarray(planes(FIRST).transpose(2, 1, 0)).transpose(2, 1, 0)
    with open_run(tmp_path / "parts", FINGERPRINT, PLANES) as run:
        run.write(FIRST, values)
        assert np.array_equal(run.read(FIRST, "confidence"), values[1])


def test_a_part_is_a_geotiff_that_anyone_can_read(tmp_path):
    begin(tmp_path / "parts", SECOND)
    with rasterio.open(parts_of(tmp_path / "parts")[0]) as dataset:
        assert dataset.descriptions == PLANES
        assert (dataset.transform.c, dataset.transform.f) == (0, -101)
        assert np.array_equal(dataset.read(), planes(SECOND))


def test_without_zstd_parts_are_deflate(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_compression", lambda: {"compress": "deflate", "zlevel": 1})
    begin(tmp_path / "parts", FIRST)
    with rasterio.open(parts_of(tmp_path / "parts")[0]) as dataset:
        assert dataset.compression.name == "deflate"
    monkeypatch.undo()
    with open_run(tmp_path / "parts", FINGERPRINT, PLANES) as run:
        assert np.array_equal(run.read(FIRST, "labels"), planes(FIRST)[0])


@pytest.mark.parametrize(
    ("window", "values", "message"),
    [
        (FIRST, planes(FIRST)[:1], r"needs \(2, 100, 130\) uint8, not \(1, 100, 130\)"),
        (FIRST, planes(FIRST).astype(np.int16), "int16"),
        (FIRST, planes(SECOND), "needs"),
        (Window(-1, 0, 1, 1), np.zeros((2, 1, 1), np.uint8), "outside the scene"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, window, values, message):
    with open_run(tmp_path / "parts", FINGERPRINT, PLANES) as run:
        with pytest.raises(ParameterError, match=message):
            run.write(window, values)
        assert run.done == frozenset()


def test_a_part_is_made_once(tmp_path):
    with open_run(tmp_path / "parts", FINGERPRINT, PLANES) as run:
        run.write(FIRST, planes(FIRST))
        with pytest.raises(ParameterError, match="is done"):
            run.write(FIRST, planes(FIRST))


def test_what_is_not_json_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="fingerprint"), open_run(tmp_path / "p", {"x": Path()}, PLANES):
        pass
    with pytest.raises(ParameterError, match="fingerprint"), open_run(tmp_path / "p", {"x": float("nan")}, PLANES):
        pass
    with open_run(tmp_path / "p", {}, PLANES) as run, pytest.raises(ParameterError, match="notes"):
        run.write(FIRST, planes(FIRST), {"x": {1, 2}})
    with pytest.raises(ParameterError, match="planes"), open_run(tmp_path / "p", {}, ["a", "a"]):
        pass
    assert names(tmp_path) == set()


@pytest.mark.parametrize("rows", [(0, 101), (-1, 5), (5, 5), (6, 5)])
def test_rows_that_are_not_there(tmp_path, rows):
    with open_run(tmp_path / "parts", FINGERPRINT, PLANES) as run:
        run.write(FIRST, planes(FIRST))
        with pytest.raises(ParameterError, match="no rows"):
            run.read(FIRST, "labels", rows)
        with pytest.raises(ParameterError, match="plane 'entropy'"):
            run.read(FIRST, "entropy")
        with pytest.raises(ParameterError, match="no part of rows 100"):
            run.read(SECOND, "labels")


def test_an_error_keeps_the_parts_and_a_run_without_parts_leaves_nothing(tmp_path):
    def fail(*windows: Window) -> None:
        with open_run(tmp_path / "parts", FINGERPRINT, PLANES) as run:
            for window in windows:
                run.write(window, planes(window))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == set()
    with pytest.raises(KeyboardInterrupt):
        fail(FIRST)
    with open_run(tmp_path / "parts", FINGERPRINT, PLANES) as run:
        assert run.done == {FIRST}


def test_tuples_and_lists_are_the_same_fingerprint(tmp_path):
    with open_run(tmp_path / "p", {"bands": (1, 2)}, PLANES) as run:
        run.write(FIRST, planes(FIRST))
    with open_run(tmp_path / "p", {"bands": [1, 2]}, list(PLANES)) as run:
        assert run.done == {FIRST}


# Other parameters


def test_other_parameters_are_refused_by_name_with_both_values(tmp_path):
    begin(tmp_path / "p", FIRST)
    other = {"model": "abc", "tile": {"size": 256, "overlap": 128}, "bands": [1, 2, 3], "mc": 8}
    with pytest.raises(ParameterError) as caught, open_run(tmp_path / "p", other, ["labels"]):
        pass
    said = str(caught.value)
    assert "tile.size was 512, is 256" in said
    assert "gsd was null, is absent" in said
    assert "mc was absent, is 8" in said
    assert 'planes was ["labels", "confidence"], is ["labels"]' in said
    assert "--no-resume" in said
    assert not {"model", "bands", "tile.overlap"} & set(said.replace(",", "").split())
    assert "\n" not in said
    assert begin(tmp_path / "p")  # and it is untouched


def test_long_values_are_shown_where_they_differ(tmp_path):
    with open_run(tmp_path / "p", {"path": "x" * 500 + "one" + "y" * 500}, PLANES) as run:
        run.write(FIRST, planes(FIRST))
    with (
        pytest.raises(ParameterError, match=r"…x+oney+…, is …x+twoy+…") as caught,
        open_run(tmp_path / "p", {"path": "x" * 500 + "two" + "y" * 500}, PLANES),
    ):
        pass
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_many_differences_are_counted(tmp_path):
    with open_run(tmp_path / "p", {f"k{i}": 0 for i in range(9)}, PLANES) as run:
        run.write(FIRST, planes(FIRST))
    with (
        pytest.raises(ParameterError, match="and 4 more"),
        open_run(tmp_path / "p", {f"k{i}": 1 for i in range(9)}, PLANES),
    ):
        pass


def test_starting_over_removes_what_is_ours_and_nothing_else(tmp_path):
    folder = tmp_path / "p"
    old = begin(folder, FIRST)
    (folder / "notes.txt").write_text("mine")
    with open_run(folder, {"other": 1}, ["labels"], resume=False) as run:
        assert run.created
        assert run.id != old
        assert run.done == frozenset()
        assert parts_of(folder) == []
        run.write(FIRST, planes(FIRST)[:1])
    assert (folder / "notes.txt").read_text() == "mine"


# What may lie in the folder


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("foreign", ["map.tif", "manifest.json.bak", ".hidden", "x.tmp", ".geoseg.other"])
def test_a_folder_of_others_is_refused(tmp_path, foreign, resume):
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / foreign).write_bytes(b"mine")
    with pytest.raises(OutputError, match="not geoseg's"), open_run(folder, {}, PLANES, resume=resume):
        pass
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {foreign: b"mine"}


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("text", ["{}", '{"version": 3}', '{"geoseg_parts": 1}', "[1, 2]", "x"])
def test_a_manifest_of_others_is_not_touched(tmp_path, text, resume):
    """Ours is recognised by its first bytes, so that --no-resume can help with a damaged one."""
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "manifest.json").write_text(text)
    with pytest.raises(OutputError, match="not geoseg's"), open_run(folder, {}, PLANES, resume=resume):
        pass
    assert {p.name: p.read_text() for p in folder.iterdir()} == {"manifest.json": text}


def test_folders_and_links_named_like_ours_are_not_ours(tmp_path):
    folder, precious = tmp_path / "p", tmp_path / "precious.tif"
    precious.write_text("mine")
    begin(folder, FIRST)
    part = parts_of(folder)[0].name
    (folder / part.replace("_100_", "_101_")).symlink_to(precious)
    (folder / part.replace("_100_", "_102_")).mkdir()
    (folder / ".x.12345678.tmp").symlink_to(precious)
    with open_run(folder, FINGERPRINT, PLANES) as run:
        assert run.done == {FIRST}
        run.finish()
    assert precious.read_text() == "mine"
    assert len(names(folder)) == 3


def test_a_linked_manifest_is_refused(tmp_path):
    begin(tmp_path / "other", FIRST)
    (tmp_path / "p").mkdir()
    (tmp_path / "p/manifest.json").symlink_to(tmp_path / "other/manifest.json")
    with pytest.raises(OutputError, match="not geoseg's"), open_run(tmp_path / "p", FINGERPRINT, PLANES):
        pass


def test_foreign_files_outlive_the_run(tmp_path, caplog):
    folder = tmp_path / "p"
    begin(folder, FIRST)
    (folder / "notes.txt").write_text("mine")
    with open_run(folder, FINGERPRINT, PLANES) as run:
        run.finish()
    assert names(folder) == {"notes.txt"}
    assert "notes.txt" in caplog.text


def test_a_folder_with_nothing_but_ours_and_no_manifest_is_empty(tmp_path):
    folder = tmp_path / "p"
    old = begin(folder, FIRST)
    (folder / "manifest.json").unlink()
    (folder / ".map.tif.0123abcd.cog.tmp").write_text("half")
    with open_run(folder, FINGERPRINT, PLANES) as run:
        assert run.created
        assert run.id != old
        assert run.done == frozenset()
        assert {n for n in names(folder) if not n.startswith(".geoseg")} == {"manifest.json"}


def test_parts_of_another_run_are_not_taken(tmp_path):
    begin(tmp_path / "a", FIRST)
    begin(tmp_path / "b", SECOND)
    stray = parts_of(tmp_path / "a")[0]
    stray.rename(tmp_path / "b" / stray.name)
    with open_run(tmp_path / "b", FINGERPRINT, PLANES) as run:
        assert run.done == {SECOND}
    assert len(parts_of(tmp_path / "b")) == 1


def test_stale_temporaries_go(tmp_path):
    folder = tmp_path / "p"
    begin(folder, FIRST)
    with open_run(folder, FINGERPRINT, PLANES) as run:
        mine = run.temporary("map.tif")
        mine.write_text("half a raster")
        for suffix in (".ovr.tmp", ".aux.xml"):
            Path(f"{mine}{suffix}").write_text("GDAL's")
        assert run.temporary("map.tif") != mine
        assert mine.parent == folder
    (folder / "0123456789abcdef_0_0_1_1_9.tif.part").write_text("foreign")
    with open_run(folder, FINGERPRINT, PLANES) as run:
        assert run.done == {FIRST}
        assert not any("map.tif" in n for n in names(folder))
    assert "0123456789abcdef_0_0_1_1_9.tif.part" in names(folder)


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("kind", ["a file", "a link", "a dangling link"])
def test_the_folder_is_something_else(tmp_path, kind, resume):
    folder, target = tmp_path / "p", tmp_path / "target"
    if kind == "a file":
        folder.write_text("mine")
    else:
        folder.symlink_to(target)
        if kind == "a link":
            begin(target, FIRST)
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    with (
        pytest.raises(OutputError, match=f"is a {kind.split()[-1]}"),
        open_run(folder, FINGERPRINT, PLANES, resume=resume),
    ):
        pass
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_its_parent_must_be_there(tmp_path):
    with pytest.raises(OutputError, match="No such file"), open_run(tmp_path / "none" / "p", {}, PLANES):
        pass


@pytest.mark.parametrize("name", ["a b#c?d%20.parts", "zip+http:..parts", "ü" * 60])
def test_any_name_of_a_folder(tmp_path, name):
    folder = tmp_path / name
    begin(folder, FIRST)
    with open_run(folder, FINGERPRINT, PLANES) as run:
        assert np.array_equal(run.read(FIRST, "labels"), planes(FIRST)[0])
        run.finish()
    assert names(tmp_path) == set()


# Damage


@pytest.mark.parametrize("keep", [0, 1, 7])
def test_a_part_that_is_cut_short_is_made_anew(tmp_path, keep, caplog):
    folder = tmp_path / "p"
    begin(folder, FIRST, SECOND)
    part = next(p for p in parts_of(folder) if "_100_0_" in p.name)
    part.write_bytes(part.read_bytes()[:keep])
    with open_run(folder, FINGERPRINT, PLANES) as run:
        assert run.done == {FIRST}
        run.write(SECOND, planes(SECOND))
        assert np.array_equal(run.read(SECOND, "labels"), planes(SECOND)[0])
    assert "cut short" in caplog.text


def test_no_flipped_bit_is_read(tmp_path, capfd):
    """Wherever in the file it is: the pixels are right, or it is an error and the part has gone."""
    folder = tmp_path / "p"
    rng = random.Random(0)
    refused = 0
    run_id = begin(folder, FIRST)
    part = parts_of(folder)[0]
    sound = part.read_bytes()
    for at in [*range(16), *(rng.randrange(len(sound)) for _ in range(120))]:
        damaged = bytearray(sound)
        damaged[at] ^= 1 << rng.randrange(8)
        part.write_bytes(damaged)
        with open_run(folder, FINGERPRINT, PLANES) as run:
            assert run.id == run_id
            said = ""
            try:
                found = np.stack([run.read(FIRST, name) for name in PLANES])
            except OutputError as error:
                said = str(error)
            if not said:
                assert np.array_equal(found, planes(FIRST)), at
                continue
            refused += 1
            assert "run the same command again" in said
            assert part.name in said
            assert "\n" not in said
            assert not part.exists()
            assert run.done == frozenset()
        part.write_bytes(sound)
    assert refused > 60
    assert capfd.readouterr() == ("", "")


def test_a_part_under_the_name_of_another(tmp_path):
    folder = tmp_path / "p"
    one, two = Window(0, 0, 64, 64), Window(64, 0, 64, 64)
    with open_run(folder, {}, PLANES) as run:
        run.write(one, planes(one))
    part = parts_of(folder)[0]
    part.rename(folder / part.name.replace("_0_0_64_64_", "_64_0_64_64_"))
    with open_run(folder, {}, PLANES) as run:
        assert run.done == {two}
        with pytest.raises(OutputError, match="another run or place"):
            run.notes(two)
        assert run.done == frozenset()


def test_a_part_that_somebody_removed(tmp_path):
    with open_run(tmp_path / "p", FINGERPRINT, PLANES) as run:
        run.write(FIRST, planes(FIRST))
        parts_of(tmp_path / "p")[0].unlink()
        with pytest.raises(OutputError, match="is gone; run the same command again"):
            run.read(FIRST, "labels")
        run.write(FIRST, planes(FIRST))
        assert np.array_equal(run.read(FIRST, "labels"), planes(FIRST)[0])


def test_what_goes_while_it_is_listed_or_removed_is_gone(tmp_path, monkeypatch):
    """A network file system loses a reply and asks again, or a worker renames its temporary at this moment."""
    run_id = begin(tmp_path / "p", FIRST, SECOND)
    first, second = parts_of(tmp_path / "p")
    lstat, removed = Path.lstat, ["none.tif", first.name, "none.tif"]

    def lstat_late(path: Path) -> os.stat_result:
        if path.name in removed:
            path.unlink(missing_ok=True)
        return lstat(path)

    store = FolderStore(tmp_path / "p")
    store.remove(removed)
    assert parts_of(tmp_path / "p") == [second]
    removed[:] = [second.name]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "lstat", lstat_late)
        assert store.listing() == Listing(manifest=True)
    with open_run(tmp_path / "p", FINGERPRINT, PLANES) as run:
        assert (run.id, run.done) == (run_id, set())
        run.write(FIRST, planes(FIRST))
        unlink = Path.unlink

        def unlink_twice(path: Path, missing_ok: bool = False) -> None:
            unlink(path, missing_ok=missing_ok)
            unlink(path, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink_twice)
            run.finish()
    assert names(tmp_path) == set()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(24, "Too many open files")])
def test_a_part_that_cannot_be_opened_now_is_kept(tmp_path, monkeypatch, error):
    with open_run(tmp_path / "p", FINGERPRINT, PLANES) as run:
        run.write(FIRST, planes(FIRST))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(error))
            with pytest.raises(OutputError, match=error.strerror):
                run.read(FIRST, "labels")
        assert np.array_equal(run.read(FIRST, "labels"), planes(FIRST)[0])


def manifest_lengths() -> list[int]:
    return [0, 1, 5, 20, 40, 150]


@pytest.mark.parametrize("keep", manifest_lengths())
def test_a_manifest_that_is_cut_short(tmp_path, keep):
    folder = tmp_path / "p"
    begin(folder, FIRST)
    manifest = folder / "manifest.json"
    assert len(manifest.read_bytes()) > max(manifest_lengths())
    manifest.write_bytes(manifest.read_bytes()[:keep])
    with pytest.raises(OutputError, match=r"damaged.*--no-resume"), open_run(folder, FINGERPRINT, PLANES):
        pass
    assert len(parts_of(folder)) == 1
    with open_run(folder, FINGERPRINT, PLANES, resume=False) as run:
        assert run.created
        run.write(FIRST, planes(FIRST))
    assert len(parts_of(folder)) == 1


@pytest.mark.parametrize("change", [{"run": 3}, {"run": "zz"}, {"planes": None}, {"fingerprint": 7}])
def test_a_manifest_with_strange_fields(tmp_path, change):
    begin(tmp_path / "p", FIRST)
    manifest = tmp_path / "p/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change, indent=1))
    with pytest.raises(OutputError, match="damaged"), open_run(tmp_path / "p", FINGERPRINT, PLANES):
        pass


def test_a_manifest_of_another_version(tmp_path):
    folder = tmp_path / "p"
    begin(folder, FIRST)
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"geoseg_parts": 2, "else": "unknown"}, indent=1))
    with pytest.raises(OutputError, match="format 2, this one writes 1"), open_run(folder, FINGERPRINT, PLANES):
        pass
    assert len(parts_of(folder)) == 1
    assert begin(folder, FIRST, resume=False)


# The disk


NOBODY = 65534


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs to be root to be somebody else")
def test_a_read_only_folder(tmp_path):
    begin(tmp_path / "p", FIRST)
    before = {p.name for p in (tmp_path / "p").iterdir()}
    code = (
        "import os, sys; from pathlib import Path; from geoseg.parts import open_run\n"
        "from geoseg.errors import OutputError\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        f"        with open_run(Path(name), {FINGERPRINT!r}, {PLANES!r}): print('open')\n"
        "    except OutputError as error: print(error)\n"
    )
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o055)
        if len(folder.parts) <= 2:
            break
    command = [sys.executable, "-c", code, str(tmp_path / "p"), str(tmp_path / "new")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == 2
    assert all("cannot be written (Permission denied)" in line for line in said), said
    assert {p.name for p in (tmp_path / "p").iterdir()} == before
    assert names(tmp_path) == {"p"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_is_an_error_and_leaves_nothing_of_the_part(tmp_path):
    import resource

    noise = np.random.default_rng(0).integers(0, 251, (2, 100, 130)).astype(np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_run(tmp_path / "p", FINGERPRINT, PLANES) as run:
        run.write(SECOND, planes(SECOND) * 0)
        kept = names(tmp_path / "p")
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, before[1]))
        try:
            with pytest.raises(OutputError, match=r"cannot be written \(File too large\)"):
                run.write(FIRST, noise)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert run.done == {SECOND}
        assert names(tmp_path / "p") == kept
        run.write(FIRST, noise)
        assert np.array_equal(run.read(FIRST, "labels"), noise[0])


def test_a_durable_file_is_whole_or_as_before(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_durably(path, b"old")
    calls: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: (calls.append("sync"), fsync(d))[1])
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        write_durably(path, b"new")
    assert calls == ["sync"]  # before the rename
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


# One writer


HOLD = """
import sys
from pathlib import Path
from geoseg.parts import open_run
with open_run(Path(sys.argv[1]), {}, ["labels"]) as run:
    print(run.id, flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert len(process.stdout.readline().strip()) == 16
    return process


@pytest.mark.parametrize("resume", [True, False])
def test_a_second_run_is_refused_and_told_who_is_first(tmp_path, resume):
    folder = tmp_path / "p"
    with hold(folder) as process:
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        with (
            pytest.raises(OutputError, match=rf"written by another run \(pid {process.pid} on .* since "),
            open_run(folder, {}, ["labels"], resume=resume),
        ):
            pass
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
        process.communicate()
    assert names(tmp_path) == set()


def test_a_second_run_in_the_same_process_is_refused(tmp_path):
    with open_run(tmp_path / "p", {}, PLANES) as run:
        with pytest.raises(OutputError, match=f"pid {os.getpid()}"), open_run(tmp_path / "p", {}, PLANES):
            pass
        run.write(FIRST, planes(FIRST))
    assert len(parts_of(tmp_path / "p")) == 1


def test_the_lock_of_a_dead_process_holds_nobody_up(tmp_path):
    folder = tmp_path / "p"
    with hold(folder) as process:
        process.send_signal(signal.SIGKILL)
    assert {".geoseg.lock", ".geoseg.owner.json"} < names(folder)
    with open_run(folder, {}, ["labels"]) as run:
        assert not run.created
        run.finish()
    assert names(tmp_path) == set()


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(38, "Function not implemented")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # filelock's own
        with pytest.raises(OutputError, match="has no locks"), open_run(tmp_path / "p", {}, PLANES):
            pass


STORM = """
import sys
from pathlib import Path
import numpy as np
from geoseg.errors import OutputError
from geoseg.parts import open_run
from geoseg.tiling import Window
folder, witness, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for _ in range(times):
    try:
        with open_run(folder, {}, ["labels"]) as run:
            witness.open("x").close()  # fails where another one is inside
            run.write(Window(0, 0, 1, 1), np.zeros((1, 1, 1), np.uint8))
            run.finish()
            witness.unlink()
        print("in")
    except OutputError as error:
        print("out", error)
"""


def test_runs_that_come_and_go_are_never_in_it_together(tmp_path):
    command = [sys.executable, "-c", STORM, str(tmp_path / "p"), str(tmp_path / "witness"), "40"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate() for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, told, strict=True)] == [(0, "")] * 3
    lines = [line for out, _ in told for line in out.splitlines()]
    assert lines.count("in") >= 40
    assert all("another run" in line or "other runs" in line for line in lines if line != "in"), set(lines)
    assert names(tmp_path) == set()


# kill -9


STEPS = [Window(top, left, 40, 300) for top in range(0, 480, 40) for left in (0, 300)]
WORK = f"""
from __future__ import annotations
import sys
from pathlib import Path
import numpy as np
from geoseg.parts import open_run
from geoseg.tiling import Window
{inspect.getsource(planes)}
with open_run(Path(sys.argv[1]), {FINGERPRINT!r}, {PLANES!r}) as run:
    print(run.id, len(run.done), flush=True)
    for window in {STEPS!r}:
        if window not in run.done:
            run.write(window, planes(window), {{"row": window.row_off}})
            print("part", flush=True)
    run.temporary("map.tif").write_bytes(b"half a raster")
    print("end", flush=True)
"""


def work(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORK, str(folder)], stdout=subprocess.PIPE)


def test_killed_at_random_moments_it_makes_the_same_parts(tmp_path):
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    rng = random.Random(3)
    ids: set[bytes] = set()
    done = 0
    for _ in range(20):
        # From the first line on, after some more bytes of what it says: before, between and within the writes.
        with work(folder) as process:
            assert process.stdout is not None
            first = process.stdout.readline().split()
            ids.add(first[0])
            assert int(first[1]) >= done
            done = int(first[1])
            for _ in range(rng.randrange(4)):
                process.stdout.readline()
            for _ in range(rng.randrange(200_000)):  # some part of a write's time
                pass
            process.kill()
        assert process.returncode in (0, -signal.SIGKILL)
    for where in (folder, whole):
        with work(where) as process:
            out = process.communicate()[0]
        assert out.endswith(b"end\n")
    assert len(ids) == 1
    with open_run(folder, FINGERPRINT, PLANES) as run, open_run(whole, FINGERPRINT, PLANES) as other:
        assert run.done == other.done == set(STEPS)
        assert not run.created
        for window in STEPS:
            assert run.notes(window) == other.notes(window) == {"row": window.row_off}
            for k, plane in enumerate(PLANES):
                assert np.array_equal(run.read(window, plane), other.read(window, plane))
                assert np.array_equal(run.read(window, plane), planes(window)[k])
        assert len(names(folder)) == len(names(whole)) == len(STEPS) + 3  # manifest, lock, owner
        run.finish()
        other.finish()
    assert names(tmp_path) == set()


def test_killed_while_it_finishes_it_is_a_run_with_fewer_parts(tmp_path, monkeypatch):
    """The manifest goes last, so that the outputs can be told to be this run's until all is gone."""
    folder = tmp_path / "p"
    name = begin(folder, FIRST, SECOND)
    removed: list[str] = []
    unlink = Path.unlink

    class Killed(BaseException):
        pass

    def unlink_some(path: Path, missing_ok: bool = False) -> None:
        if path.suffix in (".tif", ".json") and not path.name.startswith("."):
            if len(removed) == limit:
                raise Killed
            removed.append(path.name)
        unlink(path, missing_ok=missing_ok)

    for limit in range(2):
        monkeypatch.setattr(Path, "unlink", unlink_some)
        with pytest.raises(Killed), open_run(folder, FINGERPRINT, PLANES) as run:
            run.finish()
        monkeypatch.undo()
        assert (folder / "manifest.json").exists()
        removed.clear()
        with open_run(folder, FINGERPRINT, PLANES) as run:
            assert isinstance(run, Run)
            assert run.id == name
            assert len(run.done) == 2 - limit
