"""One run at a time in a store without locks: an object that says who is there, and is renewed while that one lives.

It is made by a put that fails where there is one already (S3: ``If-None-Match: *``). A holder that was killed does not
take it away: it counts no longer once its process is seen to be gone, on the same machine (Linux), or has not renewed
it for ten minutes. One that was away for so long, because its machine slept, asks whose the place is before it writes.
Clocks need to agree to a few minutes, as the stores themselves demand.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from geoseg.errors import OutputError
from geoseg.parts.folders import LOCK

_log = logging.getLogger("geoseg")

BEAT_SECONDS = 60.0
"""How often a holder renews its lock."""

STALE_SECONDS = 600.0
"""After so long without that it counts no longer."""

SETTLE_SECONDS = 3.0
"""How long two that begin at the same moment may take to see one another, where a put cannot be conditional."""

# Two renewals that did not come: the machine slept, or the store does not answer.
_LATE_SECONDS = 2 * BEAT_SECONDS

# A request that is under way may wait for a store that does not answer.
_END_SECONDS = 10.0


class Objects(Protocol):
    """Where the lock is kept."""

    def named(self, name: str) -> str:
        """How an object is called in messages."""

    def fetch(self, name: str) -> bytes:
        """An object as it is now; FileNotFoundError where there is none."""

    def replace(self, name: str, data: bytes) -> None:
        """Make or replace an object."""

    def create(self, name: str, data: bytes) -> bool:
        """Make an object unless there is one; False where there is."""

    def remove(self, names: list[str]) -> None:
        """Remove objects."""


@dataclass(frozen=True, slots=True)
class _Holder:
    """What the lock says.

    Attributes:
        token: Of this holder and no other.
        pid: Its process.
        host: Name of its machine.
        machine: What no other machine has, nor a container on it; empty where that is not known.
        since: When it began.
        beat: When it was renewed, in seconds since 1970.
    """

    token: str
    pid: int
    host: str
    machine: str
    since: str
    beat: float

    @classmethod
    def new(cls) -> _Holder:
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        return cls(secrets.token_hex(8), os.getpid(), socket.gethostname(), _machine(), since, time.time())

    def data(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @property
    def over(self) -> str | None:
        """Why it counts no longer, if so."""
        silent = time.time() - self.beat
        if silent > STALE_SECONDS:
            return f"has given no sign of life for {silent / 60:.0f} min"
        if self.machine and self.machine == _machine() and _ended(self.pid):
            return "has ended without taking its lock away"
        return None


class Lease:
    """A lock that is held, and renewed by a thread of its own."""

    def __init__(self, objects: Objects, holder: _Holder) -> None:
        self._objects, self._holder = objects, holder
        self._lost = False
        # By the clock that others judge it by; a monotonic one stands still while the machine sleeps.
        self._renewed = holder.beat
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="geoseg-lock", daemon=True)
        self._thread.start()

    def check(self, *, surely: bool = False) -> None:
        """See that it is still ours: the store is asked where a renewal is late.

        Args:
            surely: Ask it in any case, for what would harm the run of another one.

        Raises:
            OutputError: Another run has taken it, or somebody has removed it.
            Exception: What the store raises where it cannot be asked.
        """
        if not self._lost and (surely or abs(time.time() - self._renewed) > _LATE_SECONDS):
            self._renew()
        if self._lost:
            raise OutputError(
                f"{self._objects.named(LOCK)} is no longer of this run: another one has taken over, or somebody "
                "removed it; what is finished is kept"
            )

    def release(self) -> None:
        """Take the lock away."""
        self._over.set()
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():
            _log.warning(
                "%s may come back and stay for %.0f min: the store has not answered its renewal; if no run uses it, "
                "remove that object", self._objects.named(LOCK), STALE_SECONDS / 60,
            )  # fmt: skip
        with suppress(Exception):  # it counts no longer after a while
            if not self._lost and _ours(self._objects, self._holder):
                self._objects.remove([LOCK])

    def _keep(self) -> None:
        while not self._lost and not self._over.wait(BEAT_SECONDS):
            with suppress(Exception):  # out of reach: what is written next will tell
                self._renew()

    def _renew(self) -> None:
        """Ask whose it is and, where it is ours, say that we live."""
        asked = time.time()
        if not _ours(self._objects, self._holder):
            self._lost = True
            return
        beat = time.time()
        self._objects.replace(LOCK, replace(self._holder, beat=beat).data())
        now = time.time()
        if now - self._renewed > STALE_SECONDS and now - asked > SETTLE_SECONDS:
            self._lost = True  # time enough for another run to take it over, and for this renewal to hide that
        self._renewed = beat


@contextmanager
def leased(objects: Objects) -> Iterator[Lease]:
    """Hold a place alone while the block runs.

    Raises:
        OutputError: Another run holds it.
    """
    lease = Lease(objects, _acquired(objects))
    try:
        yield lease
    finally:
        lease.release()


def _acquired(objects: Objects) -> _Holder:
    mine = _Holder.new()
    for _ in range(3):  # a run that ends meanwhile takes its lock away
        found = _found(objects)
        if found is not None:
            _take_over(objects, found)
        if _created(objects, mine):
            return mine
    raise OutputError(f"{objects.named(LOCK)} comes and goes: other runs use the same place; wait or stop them")


def _take_over(objects: Objects, found: _Holder) -> None:
    why = found.over
    if why is None:
        raise OutputError(
            f"{objects.named(LOCK)} is held by another run (pid {found.pid} on {found.host} since {found.since}); wait "
            f"for it or stop it. One that was killed on another machine holds it for {STALE_SECONDS / 60:.0f} min; if "
            "you know of one, remove that object"
        )
    _log.warning("%s: the run of pid %d on %s %s; taken over", objects.named(LOCK), found.pid, found.host, why)
    objects.remove([LOCK])
    time.sleep(SETTLE_SECONDS)  # another one may be here too, and shall not remove ours


def _created(objects: Objects, mine: _Holder) -> bool:
    if not objects.create(LOCK, mine.data()):
        return _ours(objects, mine)  # it is, where the answer to a first try was lost
    if objects.create(LOCK, mine.data()):  # this store replaces what is there: the last one has it
        time.sleep(SETTLE_SECONDS)
        return _ours(objects, mine)
    return True


def _ours(objects: Objects, mine: _Holder) -> bool:
    found = _found(objects)
    return found is not None and found.token == mine.token


def _found(objects: Objects) -> _Holder | None:
    try:
        data = objects.fetch(LOCK)
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(data)
        return _Holder(
            str(fields["token"]), int(fields["pid"]), str(fields["host"])[:60], str(fields["machine"]),
            str(fields["since"])[:30], float(fields["beat"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{objects.named(LOCK)} is damaged; if no run uses it, remove that object") from error


def _ended(pid: int) -> bool:
    """Whether a process of this machine is no more; /proc may hide those of other users."""
    with suppress(PermissionError, OverflowError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
    return False


def _machine() -> str:
    """What sets this machine, and this container on it, apart; empty where that is not known."""
    if sys.platform != "linux":
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
