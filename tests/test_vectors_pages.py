"""Tables and R-trees written as pages: SQLite itself says whether they are sound and what is in them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.vectors.pages import PageFile, TableBuilder
from geoseg.vectors.rtree import RTreeBuilder, outward

PAGE_SIZES = pytest.mark.parametrize("page_size", [512, 4096, 65536])


def make(path: Path, page_size: int, *statements: str) -> dict[str, int]:
    """An SQLite file with empty tables; their root pages."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size={page_size}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        return dict(connection.execute("SELECT name, rootpage FROM sqlite_master"))


def records(blobs: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """SQLite records of (NULL, blob)."""
    made = []
    for blob in blobs:
        code, kind = 12 + 2 * len(blob), b""
        while code or not kind:
            kind = bytes([code & 127 | (128 if kind else 0)]) + kind
            code >>= 7
        made.append(bytes([2 + len(kind), 0]) + kind + blob)
    return np.frombuffer(b"".join(made), np.uint8), np.cumsum([0, *map(len, made)])


def fill(path: Path, root: int, batches: list[list[bytes]]) -> None:
    with PageFile(path) as file:
        table = TableBuilder(file, root)
        for blobs in batches:
            table.append(*records(blobs))
        table.finish()


def fetch(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


@PAGE_SIZES
@pytest.mark.parametrize("count", [0, 1, 3, 700, 20_000])
def test_any_number_of_rows(tmp_path: Path, page_size: int, count: int) -> None:
    path = tmp_path / "t.db"
    roots = make(path, page_size, "CREATE TABLE t (id INTEGER PRIMARY KEY, b)")
    blobs = [i.to_bytes(4, "big") * (i % 17) for i in range(count)]
    fill(path, roots["t"], [blobs[i : i + 300] for i in range(0, count, 300)])
    assert fetch(path, "SELECT id, b FROM t") == list(enumerate(blobs, start=1))
    assert fetch(path, "PRAGMA integrity_check") == [("ok",)]


@given(
    st.sampled_from([512, 1024, 4096]),
    st.lists(st.lists(st.integers(0, 9000) | st.integers(400, 600) | st.integers(3990, 4100), max_size=9), max_size=9),
)
@settings(max_examples=60, deadline=None)
def test_rows_of_any_size(tmp_path_factory: pytest.TempPathFactory, page_size: int, sizes: list[list[int]]) -> None:
    path = tmp_path_factory.mktemp("rows") / "t.db"
    roots = make(path, page_size, "CREATE TABLE t (id INTEGER PRIMARY KEY, b)", "CREATE TABLE other (x)")
    rng = np.random.default_rng(sum(map(sum, sizes)))
    batches = [[rng.bytes(size) for size in batch] for batch in sizes]
    fill(path, roots["t"], batches)
    expected = [blob for batch in batches for blob in batch]
    assert fetch(path, "SELECT b FROM t ORDER BY id") == [(blob,) for blob in expected]
    assert fetch(path, "PRAGMA integrity_check") == [("ok",)]
    with closing(sqlite3.connect(path)) as connection:  # and it can be written on
        connection.executemany("INSERT INTO t (b) VALUES (?)", [(b"more" * 999,)] * 5)
        connection.execute("DELETE FROM t WHERE id % 3 = 1")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_tables_that_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    roots = make(path, 512, *(f"CREATE TABLE t{i} (id INTEGER PRIMARY KEY, b)" for i in range(3)))
    with PageFile(path) as file:
        tables = [TableBuilder(file, roots[f"t{i}"]) for i in range(3)]
        for n in range(50):
            for i, table in enumerate(tables):
                table.append(*records([bytes([i]) * n]))
        for table in tables:
            table.finish()
    for i in range(3):
        assert fetch(path, f"SELECT b FROM t{i} ORDER BY id") == [(bytes([i]) * n,) for n in range(50)]
    assert fetch(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("size", [300, 3000])
def test_the_page_that_sqlite_locks_is_left_out(tmp_path: Path, size: int) -> None:
    path, page_size, locked = tmp_path / "t.db", 65536, 2**30 // 65536 + 1
    roots = make(path, page_size, "CREATE TABLE t (id INTEGER PRIMARY KEY, b)")
    with path.open("r+b") as file:  # as if almost a GiB had been written: pages of nothing
        file.truncate((locked - 4) * page_size)
        file.seek(28)
        file.write((locked - 4).to_bytes(4, "big"))
    blobs = [bytes([n]) * size * 90 for n in range(1, 31)]
    fill(path, roots["t"], [blobs[:20], blobs[20:]])
    assert fetch(path, "SELECT b FROM t ORDER BY id") == [(blob,) for blob in blobs]
    with path.open("rb") as file:
        file.seek((locked - 1) * page_size)
        assert not any(file.read(page_size))
        assert any(file.read(page_size))


def test_what_is_no_sqlite_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_bytes(b"no database" * 500)
    with pytest.raises(ValueError, match="no plain SQLite file"):
        PageFile(tmp_path / "t.db")


@pytest.mark.parametrize("pragma", ["auto_vacuum=FULL", "encoding='UTF-16be'"])
def test_a_file_that_needs_more_than_pages_of_rows_is_refused(tmp_path: Path, pragma: str) -> None:
    make(tmp_path / "t.db", 512, f"PRAGMA {pragma}", "CREATE TABLE t (id INTEGER PRIMARY KEY, b)")
    with pytest.raises(ValueError, match="no plain SQLite file"):
        PageFile(tmp_path / "t.db")


def test_an_error_leaves_the_header_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    roots = make(path, 512, "CREATE TABLE t (id INTEGER PRIMARY KEY, b)")
    header = path.read_bytes()[:100]

    def stop() -> None:
        with PageFile(path) as file:
            TableBuilder(file, roots["t"]).append(*records([b"x" * 400] * 9))
            raise OSError("stop")

    with pytest.raises(OSError, match="stop"):
        stop()
    assert path.read_bytes()[:100] == header


# R-trees


@pytest.mark.parametrize("count", [0, 1, 51, 52, 103, 2600, 2653, 52_224, 52_225, 140_000])
def test_an_index_is_sound_and_complete(tmp_path: Path, count: int) -> None:
    path = tmp_path / "t.db"
    roots = make(path, 4096, "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1)")
    rng = np.random.default_rng(count)
    low = rng.random((count, 2)) * 1000
    boxes = np.stack([low[:, 0], low[:, 0] + 3, low[:, 1], low[:, 1] + rng.random(count) * 9], axis=1)
    with PageFile(path) as file:
        tables = [
            TableBuilder(file, roots[f"r_{name}"], first) for name, first in (("rowid", 1), ("node", 1), ("parent", 2))
        ]
        ((node_size,),) = fetch(path, "SELECT length(data) FROM r_node")
        index = RTreeBuilder(*tables, int(str(node_size)))
        for begin in range(0, count, 9000):
            index.append(outward(boxes[begin : begin + 9000]))
        index.finish()
    assert fetch(path, "SELECT rtreecheck('r')") == [("ok",)]
    assert fetch(path, "PRAGMA integrity_check") == [("ok",)]
    assert fetch(path, "SELECT count(*), count(DISTINCT id) FROM r") == [(count, count)]
    x, y = 500.0, 500.0
    found = fetch(path, f"SELECT id FROM r WHERE x0 <= {x + 40} AND x1 >= {x} AND y0 <= {y + 40} AND y1 >= {y}")
    stored = outward(boxes)
    hit = (stored[:, 0] <= x + 40) & (stored[:, 1] >= x) & (stored[:, 2] <= y + 40) & (stored[:, 3] >= y)
    assert sorted(i for (i,) in found) == (np.flatnonzero(hit) + 1).tolist()


def test_boxes_are_rounded_outward() -> None:
    rng = np.random.default_rng(0)
    exact = rng.standard_normal((1000, 4)) * 10.0 ** rng.integers(-9, 9, (1000, 1))
    rounded = outward(exact)
    assert rounded.dtype == np.float32
    assert (rounded[:, 0::2] <= exact[:, 0::2]).all()
    assert (rounded[:, 1::2] >= exact[:, 1::2]).all()
    assert np.allclose(rounded, exact, rtol=1e-6)
    assert np.array_equal(outward(rounded.astype(np.float64)), rounded)
