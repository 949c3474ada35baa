"""Threads of prediction: order kept, errors carried over, nothing left running."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from geoseg.threads import in_background, prefetched


def _alive() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("geoseg-")]


def test_prefetched_keeps_order() -> None:
    assert list(prefetched(range(100), 3)) == list(range(100))


def test_prefetched_runs_at_most_depth_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    for item in prefetched(items(), 2):
        time.sleep(0.002)
        assert len(made) <= item + 5
    assert not _alive()


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken block")

    seen = []
    with pytest.raises(ValueError, match="broken block"):
        seen.extend(prefetched(items(), 2))
    assert not _alive()


def test_leaving_early_stops_the_thread() -> None:
    stream = prefetched(iter(range(10**9)), 2)
    assert next(stream) == 0
    stream.close()
    assert not _alive()


def test_background_consumes_everything_in_order() -> None:
    got: list[int] = []
    with in_background(got.append, 2) as hand_over:
        for i in range(50):
            hand_over(i)
    assert got == list(range(50))
    assert not _alive()


def test_a_failing_consumer_fails_the_caller() -> None:
    def consume(item: int) -> None:
        raise OSError("disk full")

    def fill() -> None:
        with in_background(consume, 1) as hand_over:
            for i in range(10):
                hand_over(i)

    with pytest.raises(OSError, match="disk full"):
        fill()
    assert not _alive()


def test_an_error_of_the_caller_wins_and_drops_what_waits() -> None:
    def fill() -> None:
        with in_background(lambda _: time.sleep(0.01), 5) as hand_over:
            hand_over(1)
            raise RuntimeError("network")

    with pytest.raises(RuntimeError, match="network"):
        fill()
    assert not _alive()


# Raises at the n-th step of the main thread inside the queues, for every n: what Ctrl-C does at a bad moment.
_INTERRUPTED_ANYWHERE = """
import queue, sys
from geoseg import threads

WATCHED = {threads.__file__, queue.__file__}

def interrupt_at(step):
    left = step
    def trace(frame, event, _):
        nonlocal left
        caller = frame.f_back.f_code.co_filename if frame.f_back else ""
        if frame.f_code.co_filename not in WATCHED and caller != queue.__file__:
            return None
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return trace
    got = []
    sys.settrace(trace)
    try:
        with threads.in_background(got.append, 1) as hand_over:
            for item in threads.prefetched(range(6), 1):
                hand_over(item)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    assert got == list(range(6))
    return False

step = 1
while interrupt_at(step):
    step += 1
print(step)
"""


def test_an_interrupt_at_any_step_never_leaves_a_thread_waiting_for_another() -> None:
    command = [sys.executable, "-c", _INTERRUPTED_ANYWHERE]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50
