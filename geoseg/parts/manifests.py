"""The manifest of a run: which parameters its parts were made with, and what sets other parameters apart."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from geoseg.errors import OutputError, ParameterError

FORMAT = 1
"""Version of what a run keeps in its folder."""

# How every manifest of ours begins, whatever its version: nothing else called manifest.json is touched.
_START = b'{\n "geoseg_parts": '
_OVER = "--no-resume (resume=False) starts over"
_SHOWN = 5
_WIDTH = 48


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder of parts belongs to.

    Attributes:
        run: Name of the run, 16 hexadecimal digits.
        created: When it began, ISO 8601.
        planes: Names of the planes of each part; none where parts hold arrays.
        fingerprint: All that changes parts, as JSON values.
    """

    run: str
    created: str
    planes: tuple[str, ...]
    fingerprint: Mapping[str, object]


def new_manifest(fingerprint: Mapping[str, object], planes: Sequence[str]) -> Manifest:
    """A manifest for a new run.

    Raises:
        ParameterError: The fingerprint is not JSON, or planes have names twice.
    """
    if len(set(planes)) != len(planes):
        raise ParameterError(f"a run needs planes with names of their own, not {list(planes)}")
    try:
        plain = json.loads(json.dumps(dict(fingerprint), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ParameterError(f"the fingerprint of a run must be JSON: {error}") from error
    return Manifest(secrets.token_hex(8), datetime.now(UTC).isoformat(timespec="seconds"), tuple(planes), plain)


def manifest_bytes(manifest: Manifest) -> bytes:
    """A manifest as it is stored."""
    fields = {"geoseg_parts": FORMAT, "run": manifest.run, "created": manifest.created}
    text = json.dumps(fields | {"planes": manifest.planes, "fingerprint": manifest.fingerprint}, indent=1)
    assert text.encode().startswith(_START)
    return text.encode()


def is_ours(data: bytes) -> bool:
    """Whether a manifest, in whatever state, is one that a run wrote."""
    return _START.startswith(data[: len(_START)])


def parse_manifest(data: bytes, name: str) -> Manifest:
    """A stored manifest.

    Args:
        data: What is stored.
        name: How messages call it.

    Raises:
        OutputError: It is damaged, or of another version of geoseg.
    """
    try:
        fields = json.loads(data)
        version = fields["geoseg_parts"]
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{name} is damaged ({' '.join(str(error).split())[:80]}); {_OVER}") from error
    if version != FORMAT:
        raise OutputError(
            f"{name} was written by another version of geoseg (format {version!s:.20}, this one writes {FORMAT}); "
            f"go on with that one, or {_OVER}"
        )
    try:
        manifest = Manifest(fields["run"], fields["created"], tuple(fields["planes"]), dict(fields["fingerprint"]))
        bytes.fromhex(manifest.run)
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{name} is damaged ({type(error).__name__}: {str(error)[:80]}); {_OVER}") from error
    return manifest


def check_same(place: object, found: Manifest, wanted: Manifest) -> None:
    """See that parts of ``found`` are parts of ``wanted``.

    Raises:
        ParameterError: They are not; the message names what differs, with both values.
    """
    old = {"planes": list(found.planes)} | dict(_flat(found.fingerprint))
    new = {"planes": list(wanted.planes)} | dict(_flat(wanted.fingerprint))
    names = [name for name in (old | new) if name not in old or name not in new or old[name] != new[name]]
    if names:
        told = [_difference(name, old, new) for name in names[:_SHOWN]]
        told += [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
        raise ParameterError(
            f"{place} holds parts of a run with other parameters: {'; '.join(told)}. "
            f"The same parameters go on with it, {_OVER}"
        )


def _flat(value: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """(dotted name, value) of everything in a mapping of mappings."""
    for name, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _difference(name: str, old: Mapping[str, object], new: Mapping[str, object]) -> str:
    was, now = (json.dumps(v[name], ensure_ascii=False) if name in v else "absent" for v in (old, new))
    common = next((i for i, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    return f"{name} was {_around(was, common)}, is {_around(now, common)}"


def _around(text: str, at: int) -> str:
    """A text in one line, cut down to what is near ``at``."""
    first = max(0, at - _WIDTH // 4) if len(text) > _WIDTH else 0
    piece = text[first : first + _WIDTH]
    return f"{'…' if first else ''}{piece}{'…' if first + _WIDTH < len(text) else ''}"
