"""Duties for the tests of crews; in a module of their own, so that worker processes find them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.distributed import Duty, MisfitError, Place, Tell, Wanted
from geoseg.errors import ModelError


@dataclass(frozen=True)
class Doubling:
    """Doubles numbers; what else it does is written on the item.

    An item is a number, or (number, what): ``die`` and ``freeze`` happen once, ``die always`` each time, ``fail``
    and ``refuse`` by an error, ``misfit`` on the first worker that takes it, ``wait`` until a file ``go`` appears.
    Opening takes ``opens`` seconds.
    """

    folder: Path
    opens: float = 0.0

    @contextmanager
    def open(self, place: Place) -> Iterator[Duty]:
        self._note("opened", place.address)
        time.sleep(self.opens)
        place.keep("kept", lambda: self._note("kept", place.address), lambda _: self._note("given", place.address))

        def do(item: Any, tell: Tell, wanted: Wanted) -> Any:
            number, what = item if isinstance(item, tuple) else (item, "")
            tell(["begun", number])
            self._do(what, wanted)
            return 2 * number

        yield do
        self._note("closed", place.address)

    def _do(self, what: str, wanted: Wanted) -> None:
        if what == "die always" or (what == "die" and self._first(what)):
            time.sleep(0.3)  # time to tell that it has begun
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "freeze" and self._first(what):
            os.kill(os.getpid(), signal.SIGSTOP)
        elif what == "fail" or (what == "fail once" and self._first(what)):
            raise RuntimeError("by accident")
        elif what == "refuse":
            raise ModelError("on purpose")
        elif what == "misfit" and self._first(what):
            raise MisfitError("of another make")
        elif what == "hang" and self._first(what):
            while not (self.folder / "go").exists():
                time.sleep(0.02)
            self._note("wanted", str(wanted()))
        elif what == "slow":
            time.sleep(0.2)

    def _first(self, what: str) -> bool:
        try:
            (self.folder / what).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _note(self, what: str, address: str) -> None:
        with (self.folder / "log").open("a") as file:
            file.write(f"{what} {address}\n")

    def noted(self, what: str) -> list[str]:
        """Who noted it."""
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{what} ")]
