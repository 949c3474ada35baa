"""Weights from the network, or quickly one line that says why not."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TypeVar

from huggingface_hub import constants
from huggingface_hub.utils import get_session  # type: ignore[attr-defined,unused-ignore]

from geoseg.errors import ModelError

T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds that a server may be silent."""


def fetch(what: str, load: Callable[[], T], instead: str, *, from_hub: bool) -> T:
    """Call ``load``, which may download, or read what was downloaded before.

    Without network, huggingface_hub tries each file six times and takes 20 to 50 seconds, even where it has the file;
    torch's downloads have no time limit at all.

    Args:
        what: The weights, for the message.
        load: Downloads through huggingface_hub or torch.hub.
        instead: What to use without these weights, for the message.
        from_hub: Whether it does so through huggingface_hub.

    Raises:
        ModelError: It raised anything; one line with the reason and what to use instead.
    """
    with _patience():
        offline = from_hub and not hub_answers()
        try:
            # torch.hub says on stdout what it downloads; stdout belongs to the result.
            with _from_cache_only(offline), redirect_stdout(io.StringIO()):
                return load()
        except Exception as error:  # the libraries below raise whatever their own libraries raise
            missing = offline and isinstance(error, OSError)
            host = constants.ENDPOINT.removeprefix("https://")
            reason = f"{host} does not answer, and they are not in its cache here" if missing else first_line(error)
            raise ModelError(f"{what} cannot be had ({reason}); {instead}") from error


def hub_answers() -> bool:
    """Whether the Hugging Face hub gives any answer, by the way that its own library takes (proxies, certificates)."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # noqa: BLE001 - requests' or httpx's errors, by the version of the library
        return False
    return True


@contextmanager
def _from_cache_only(offline: bool) -> Iterator[None]:
    """As with HF_HUB_OFFLINE=1 in the environment, which is read only once."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _patience() -> Iterator[None]:
    """A time limit for sockets that have none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def first_line(error: Exception) -> str:
    """What an error says, cut to a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
