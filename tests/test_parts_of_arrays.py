"""Parts that hold arrays: they come back as they were, and no change of a byte goes unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.errors import OutputError, ParameterError
from geoseg.parts import join_run, open_run, read_arrays, write_arrays
from geoseg.tiling import Window

WINDOW, OTHER = Window(10, 0, 5, 7), Window(15, 0, 5, 7)
ARRAYS: dict[str, NDArray[Any]] = {
    "points": np.random.default_rng(1).random((40, 2)),
    "none": np.zeros(0, np.int32),
    "flags": np.array([True, False]),
    "bytes": np.arange(256, dtype=np.uint8),
}


def file_of(folder: Path) -> Path:
    [path] = folder.glob("*.npz")
    return path


def test_arrays_come_back_as_they_were_written(tmp_path: Path) -> None:
    with open_run(tmp_path / "p", {}, ()) as run:
        write_arrays(run, WINDOW, ARRAYS)
    with open_run(tmp_path / "p", {}, ()) as run:
        assert run.done == {WINDOW}
        found = read_arrays(run, WINDOW)
        run.finish()
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert not (tmp_path / "p").exists()


def test_others_make_arrays_for_a_run(tmp_path: Path) -> None:
    made: list[tuple[Window, int]] = []
    with open_run(tmp_path / "p", {}, ()) as run:
        there = join_run(tmp_path / "p", run.id, [WINDOW], lambda window, size, _: made.append((window, size)))
        write_arrays(there, WINDOW, ARRAYS)
        run.take(*made[0], {})
        assert made == [(WINDOW, file_of(tmp_path / "p").stat().st_size)]
        np.testing.assert_array_equal(read_arrays(run, WINDOW)["points"], ARRAYS["points"])


def test_no_damage_goes_unseen(tmp_path: Path) -> None:
    with open_run(tmp_path / "p", {}, ()) as run:
        write_arrays(run, WINDOW, ARRAYS)
        path = file_of(tmp_path / "p")
        sound = path.read_bytes()
        for at in [*range(0, len(sound), 37), len(sound) - 1]:
            path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x10]) + sound[at + 1 :])
            with pytest.raises(OutputError, match=r"is damaged \(.*\) and has been removed"):
                read_arrays(run, WINDOW)
            assert not path.exists()
            run.put(WINDOW, sound)
        for cut in (0, 3, len(sound) // 2):
            path.write_bytes(sound[:cut])
            with pytest.raises(OutputError, match="is damaged"):
                read_arrays(run, WINDOW)
            run.put(WINDOW, sound)
        run.put(OTHER, sound)
        with pytest.raises(OutputError, match="belongs to another run or place"):
            read_arrays(run, OTHER)


def test_what_is_no_plain_array_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path / "p", {}, ()) as run:
        with pytest.raises(ParameterError, match="plain arrays"):
            write_arrays(run, WINDOW, {"a": np.array([object()])})
        write_arrays(run, WINDOW, {})
        with pytest.raises(ParameterError, match="is done"):
            write_arrays(run, WINDOW, {})
    with open_run(tmp_path / "q", {}, ("labels",)) as run, pytest.raises(ParameterError, match="made of planes"):
        write_arrays(run, WINDOW, ARRAYS)
