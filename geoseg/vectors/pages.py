"""Tables of an SQLite file written as pages, without SQLite: rows in ascending order need no search and no journal.

An SQLite table is a B-tree of pages (https://www.sqlite.org/fileformat2.html): leaves hold rows, interior pages hold
page numbers. Rows that come in the order of their ids fill leaf after leaf, which are appended to the file; what stands
above them is made at the end. SQLite itself spends three quarters of the time of such an insertion elsewhere.

The file is made by others, with empty tables; nobody else may have it open meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

_LEAF, _INTERIOR = 0x0D, 0x05
_LEAF_HEADER, _INTERIOR_HEADER = 8, 12

# Stored in two bytes as 1.
_LARGEST_PAGE = 65536

# Page number, key of up to 9 bytes, and its place in the list of cells.
_INTERIOR_CELL = 15

# What a row takes in a leaf beside its record, at most: two integers, a page number, its place in the list of cells.
_CELL_EXTRA = 24

# The page that holds this byte is left out: SQLite locks the file there.
_LOCK_BYTE = 1 << 30

# Where in the file's header: change counter, number of pages, and the change counter to which that number belongs.
_CHANGE_COUNTER, _PAGE_COUNT, _VALID_FOR = 24, 28, 92

# Where in the header the largest root page of a file is that keeps maps of its pages (auto_vacuum), which would have to
# go on among ours, and its encoding; what they are in a plain file: none, and UTF-8.
_SPECIAL, _PLAIN = slice(52, 60), bytes([0, 0, 0, 0, 0, 0, 0, 1])


class PageFile:
    """A closed SQLite file to which pages are appended; a context that ends by telling SQLite of them.

    Attributes:
        page_size: Bytes of a page.
        count: Pages so far; they are numbered from 1.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")
        header = self._file.read(100)
        size = int.from_bytes(header[16:18], "big")
        self.page_size = _LARGEST_PAGE if size == 1 else size
        self.count = int.from_bytes(header[_PAGE_COUNT : _PAGE_COUNT + 4], "big")
        self._changes = int.from_bytes(header[_CHANGE_COUNTER : _CHANGE_COUNTER + 4], "big") + 1
        length = self._file.seek(0, 2)
        whole = length == self.count * self.page_size > 0
        if header[:15] != b"SQLite format 3" or header[20] or not whole or header[_SPECIAL] != _PLAIN:
            self._file.close()
            raise ValueError(f"{path} is no plain SQLite file: whole pages, none reserved for a map of them, UTF-8")

    def __enter__(self) -> PageFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                for place, value in (
                    (_CHANGE_COUNTER, self._changes), (_PAGE_COUNT, self.count), (_VALID_FOR, self._changes),
                ):  # fmt: skip
                    self._file.seek(place)
                    self._file.write(value.to_bytes(4, "big"))

    def append(self, pages: Bytes) -> None:
        """Append whole pages; they get the next numbers."""
        self._file.write(pages.data)
        self.count += pages.size // self.page_size

    def put(self, number: int, offset: int, content: Bytes | bytes) -> None:
        """Overwrite a part of page ``number`` from byte ``offset`` on."""
        self._file.seek((number - 1) * self.page_size + offset)
        self._file.write(bytes(content))
        self._file.seek(0, 2)


class TableBuilder:
    """Fills one empty table, whose rows come in the order of their ids, which have no gap.

    What is kept in memory is the page in progress and 16 bytes for each finished leaf.

    Args:
        file: Where it lies.
        root: Number of its root page (``rootpage`` in ``sqlite_master``).
        first: Id of the first row.

    Attributes:
        last: Id of the last row so far.
    """

    def __init__(self, file: PageFile, root: int, first: int = 1) -> None:
        self.last = first - 1
        self._file = file
        self._root = root
        self._page = np.zeros(file.page_size, np.uint8)
        self._fill = np.array([0, file.page_size], np.int64)  # cells in the page, and where their contents begin
        self._leaves = [np.zeros((0, 2), np.int64)]  # number and highest id of each finished leaf

    def append(self, records: Bytes, offsets: Integers) -> None:
        """Append rows.

        Args:
            records: (B,) their SQLite records, one after the other; the id is NULL in them.
            offsets: (n + 1,) where they begin and end.
        """
        size, total, count = self._file.page_size, int(offsets[-1]), len(offsets) - 1
        # Two neighbouring leaves hold more than a page of cells; an overflow page is full but for the last of a record.
        most = 4 * (total + _CELL_EXTRA * count) // (size - 35) + 4
        pages, leaves = np.empty((most, size), np.uint8), np.empty((most, 2), np.int64)
        made, finished = _place_rows(
            records, offsets, self.last + 1, self._page, self._fill, self._file.count + 1, pages, leaves
        )
        self._file.append(pages[:made].reshape(-1))
        self._leaves.append(leaves[:finished].copy())
        self.last += count

    def finish(self, first: bytes = b"") -> None:
        """Write the last leaf and what stands above the leaves.

        Args:
            first: What replaces the last bytes of the first record, which must lie in its page whole.
        """
        leaves = np.concatenate(self._leaves)
        _close_leaf(self._page, self._fill)
        if not len(leaves):
            self._page[self._page.size - len(first) :] = np.frombuffer(first, np.uint8)
            self._file.put(self._root, 0, self._page)
            return
        self._file.put(int(leaves[0, 0]), self._page.size - len(first), first)
        children = np.concatenate([leaves, [[self._append_page(self._page), self.last]]])
        most = (self._page.size - _INTERIOR_HEADER) // _INTERIOR_CELL
        while len(children) > most:
            parts = np.array_split(children, -(-len(children) // most))
            children = np.array([[self._append_page(self._interior(part)), part[-1, 1]] for part in parts])
        self._file.put(self._root, 0, self._interior(children))

    def _append_page(self, page: Bytes) -> int:
        if self._file.count + 1 == _LOCK_BYTE // page.size + 1:
            self._file.append(np.zeros_like(page))
        self._file.append(page)
        return self._file.count

    def _interior(self, children: Integers) -> Bytes:
        """The page above (n, 2) page numbers and highest ids."""
        page = np.zeros(self._page.size, np.uint8)
        _fill_interior(page, children)
        return page


@njit(cache=True, nogil=True)
def varint_size(value: int) -> int:
    """Bytes of :func:`put_varint`."""
    size = 1
    while value > 127:
        value >>= 7
        size += 1
    return size


@njit(cache=True, nogil=True)
def put_varint(target: Bytes, at: int, value: int) -> int:
    """Write 0 <= ``value`` < 2**56 at ``at``, seven bits a byte, the highest first; return where it ends."""
    end = at + varint_size(value)
    for i in range(end - 1, at - 1, -1):
        target[i] = (value & 127) | (128 if i < end - 1 else 0)
        value >>= 7
    return end


@njit(cache=True, nogil=True)
def put_big_endian(target: Bytes, at: int, value: int, size: int) -> int:
    """Write ``value`` in ``size`` bytes at ``at``, the highest first; return where it ends."""
    for i in range(size):
        target[at + i] = (value >> (8 * (size - 1 - i))) & 255
    return at + size


@njit(cache=True, nogil=True)
def copy_bytes(target: Bytes, at: int, source: Bytes, begin: int, end: int) -> int:
    """Write ``source[begin:end]`` at ``at``; return where it ends. Compiled once, not wherever bytes are copied."""
    target[at : at + end - begin] = source[begin:end]
    return at + end - begin


@njit(cache=True, nogil=True)
def _clear(target: Bytes, begin: int) -> None:
    """Zeros from ``begin`` on."""
    target[begin:] = 0


@njit(cache=True, nogil=True)
def _close_leaf(page: Bytes, fill: Integers) -> None:
    """Write the header of a leaf."""
    page[0], page[1], page[2], page[7] = _LEAF, 0, 0, 0
    put_big_endian(page, 3, fill[0], 2)
    put_big_endian(page, 5, fill[1], 2)


@njit(cache=True, nogil=True)
def _fill_interior(page: Bytes, children: Integers) -> None:
    """Write the page above (n, 2) page numbers and highest ids; the last one's id is not kept."""
    top, cells = page.size, len(children) - 1
    for i in range(cells):
        top -= 4 + varint_size(children[i, 1])
        put_varint(page, put_big_endian(page, top, children[i, 0], 4), children[i, 1])
        put_big_endian(page, _INTERIOR_HEADER + 2 * i, top, 2)
    page[0] = _INTERIOR
    put_big_endian(page, 3, cells, 2)
    put_big_endian(page, 5, top, 2)
    put_big_endian(page, 8, children[cells, 0], 4)


@njit(cache=True, nogil=True)
def _local_size(payload: int, usable: int) -> int:
    """How many bytes of a record stay in its leaf; the rest goes to overflow pages (section 1.6 of the format)."""
    most, least = usable - 35, (usable - 12) * 32 // 255 - 23
    if payload <= most:
        return payload
    wanted = least + (payload - least) % (usable - 4)
    return wanted if wanted <= most else least


@njit(cache=True, nogil=True)
def _place_rows(
    records: Bytes,
    offsets: Integers,
    row: int,
    page: Bytes,
    fill: Integers,
    number: int,
    pages: NDArray[np.uint8],
    leaves: Integers,
) -> tuple[int, int]:
    """Put rows into leaf ``page`` and those after it; finished pages, overflow among them, go to ``pages``.

    Args:
        records: (B,) records one after the other.
        offsets: (n + 1,) where they begin and end.
        row: Id of the first.
        page: (size,) the leaf in progress, with ``fill``: its cells, and where their contents begin.
        fill: See ``page``.
        number: Number of the page that ``pages[0]`` becomes.
        pages: (most, size) output.
        leaves: (most, 2) output: number and highest id of each finished leaf.

    Returns:
        How many pages and leaves were finished.
    """
    size = page.size
    locked = _LOCK_BYTE // size + 1
    made, finished = 0, 0
    for i in range(len(offsets) - 1):
        begin, payload = offsets[i], offsets[i + 1] - offsets[i]
        local = _local_size(payload, size)
        cell = varint_size(payload) + varint_size(row + i) + local + (4 if local < payload else 0)
        if fill[1] - cell < _LEAF_HEADER + 2 * (fill[0] + 1):
            _close_leaf(page, fill)
            made += _skip_locked(pages, made, number, locked)
            copy_bytes(pages[made], 0, page, 0, size)
            leaves[finished, 0], leaves[finished, 1] = number + made, row + i - 1
            made, finished = made + 1, finished + 1
            _clear(page, 0)
            fill[0], fill[1] = 0, size
        fill[1] -= cell
        put_big_endian(page, _LEAF_HEADER + 2 * fill[0], fill[1], 2)
        fill[0] += 1
        at = put_varint(page, put_varint(page, fill[1], payload), row + i)
        copy_bytes(page, at, records, begin, begin + local)
        if local < payload:
            made += _skip_locked(pages, made, number, locked)
            put_big_endian(page, at + local, number + made, 4)
            made = _place_overflow(records, begin + local, begin + payload, pages, made, number, locked)
    return made, finished


@njit(cache=True, nogil=True)
def _skip_locked(pages: NDArray[np.uint8], made: int, number: int, locked: int) -> int:
    """Leave the page out that SQLite never uses: 1 where it came next, else 0."""
    if number + made != locked:
        return 0
    _clear(pages[made], 0)
    return 1


@njit(cache=True, nogil=True)
def _place_overflow(
    records: Bytes, begin: int, end: int, pages: NDArray[np.uint8], made: int, number: int, locked: int
) -> int:
    """Put the rest of a record into a chain of pages from ``pages[made]`` on; return how many are made then."""
    room = pages.shape[1] - 4
    while begin < end:
        page, part = pages[made], min(room, end - begin)
        made += 1
        if begin + part < end:
            made += _skip_locked(pages, made, number, locked)
            put_big_endian(page, 0, number + made, 4)
        else:
            put_big_endian(page, 0, 0, 4)
        _clear(page, copy_bytes(page, 4, records, begin, begin + part))
        begin += part
    return made
