"""Parts that hold named arrays of any shape instead of the pixels of their window: NumPy's own ``.npz``.

Objects, which would need pickle, are neither written nor read: a foreign file cannot run code. The checksums in such an
archive leave out what describes the arrays, so one of the whole file follows it, which readers of archives pass over.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.parts.runs import Run
from geoseg.parts.storage import Belonging, DamageError
from geoseg.tiling import Window

_ABOUT = "geoseg_part"
_CHECKSUM_BYTES = 4

Arrays = Mapping[str, npt.NDArray[Any]]


def write_arrays(run: Run, window: Window, arrays: Arrays) -> None:
    """Make a part of a run without planes; when this returns, it survives a power cut.

    Args:
        run: Where it goes.
        window: What the part stands for; not done yet.
        arrays: By names of their own.

    Raises:
        ParameterError: The window is done, or an array holds objects.
        OutputError: The disk does not take it; nothing of the part is kept.
    """
    if run.planes or window in run.done:
        raise ParameterError(f"the part of {window} is {'made of planes' if run.planes else 'done'}")
    run.put(window, _encode(run.belonging(window), arrays))


def read_arrays(run: Run, window: Window) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a part, compared with their checksums.

    Raises:
        ParameterError: There is no such part.
        OutputError: It is damaged, and has been removed: another run makes it anew.
    """
    data = run.content(window)
    with run.soundness(window):
        return _decode(data, run.belonging(window))


def _encode(belonging: Belonging, arrays: Arrays) -> bytes:
    if any(array.dtype.hasobject for array in arrays.values()) or _ABOUT in arrays:
        raise ParameterError(f"a part holds plain arrays under names other than {_ABOUT}")
    buffer = io.BytesIO()
    named: dict[str, Any] = {_ABOUT: np.frombuffer(_about(belonging), np.uint8), **arrays}
    np.savez(buffer, **named)
    data = buffer.getbuffer()
    return b"".join([data, _checksum(data)])


def _decode(data: bytes, belonging: Belonging) -> dict[str, npt.NDArray[Any]]:
    archived = memoryview(data)[:-_CHECKSUM_BYTES]
    if _checksum(archived) != data[-_CHECKSUM_BYTES:]:
        raise DamageError("checksum differs")
    try:
        with np.load(io.BytesIO(archived), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = arrays.pop(_ABOUT).tobytes()
    except (zipfile.BadZipFile, OSError, LookupError, TypeError, ValueError) as error:
        raise DamageError(" ".join(str(error).split())[:150]) from error
    if about != _about(belonging):
        raise DamageError("it belongs to another run or place")
    return arrays


def _checksum(data: memoryview) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little")


def _about(belonging: Belonging) -> bytes:
    w = belonging.window
    return json.dumps({"run": belonging.run, "window": [w.row_off, w.col_off, w.height, w.width]}).encode()
