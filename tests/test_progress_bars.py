"""One line of progress for scenes that are under way at once, and log lines that say which scene they are about."""

from __future__ import annotations

import io
import logging
import sys
import threading

import pytest

from geoseg.cli import console
from geoseg.cli.progress import ProgressBars
from geoseg.errors import RasterError
from geoseg.threads import SCENE_THREAD


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In place of stderr; pytest would take it away again between a fixture and its test."""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    return found


def last(terminal: Terminal) -> str:
    return terminal.getvalue().rpartition(console.CLEAR_LINE)[2]


def test_scenes_one_after_the_other_have_a_bar_each(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, bars = a_terminal(monkeypatch), ProgressBars(Clock())
    for scene in ("a.tif", "b.tif"):
        with bars.open(scene) as tell:
            tell(0, 100)
            tell(50, 100)
            assert last(terminal).startswith(f"{scene} [###############---------------] 50 %")
    assert terminal.getvalue().endswith(console.CLEAR_LINE)


def test_scenes_at_once_share_a_bar_that_counts_all_that_were_begun(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal, bars = a_terminal(monkeypatch), ProgressBars(Clock())
    with caplog.at_level(logging.INFO, "geoseg"):
        with bars.open("a.tif") as a, bars.open("b.tif") as b:
            a(0, 100)
            b(0, 300)
            a(100, 100)
            b(100, 300)
            assert last(terminal).startswith("2 scenes [###############---------------] 50 %")
        with bars.open("c.tif") as c:
            c(0, 400)
            c(300, 400)
            assert last(terminal).startswith("1 scene [")
            assert " 62 %" in last(terminal)
    assert [text.partition(":")[0] for text in caplog.messages] == ["b.tif", "a.tif", "c.tif"]


def test_what_an_earlier_run_left_does_not_count_as_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = a_terminal(monkeypatch), Clock()
    bars, mega = ProgressBars(clock), 1_000_000
    with bars.open("a.tif") as a, bars.open("b.tif") as b:
        a(0, 100 * mega)
        began = clock.now
        b(80 * mega, 100 * mega)
        b(80 * mega, 100 * mega)
        a(20 * mega, 100 * mega)
        rate = 20 / (clock.now - began)
        assert f"] 50 %  {rate:.2f} Mpx/s" in last(terminal)


def test_what_a_scene_that_failed_lacks_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, bars = a_terminal(monkeypatch), ProgressBars(Clock())

    def fail() -> None:
        with bars.open("b.tif") as b:
            b(10, 100)
            raise RasterError("no")

    with bars.open("a.tif") as a:
        a(0, 90)
        with pytest.raises(RasterError):
            fail()
        a(40, 90)
        assert last(terminal).startswith("1 scene [")
        assert "50 %" in last(terminal)
        a(90, 90)
        assert "100 %" in last(terminal)


def test_a_scene_that_fails_is_not_said_to_be_finished(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal, bars = a_terminal(monkeypatch), ProgressBars(Clock())

    def fail() -> None:
        with bars.open("a.tif") as a, bars.open("b.tif"):
            a(10, 100)
            raise RasterError("no")

    with caplog.at_level(logging.INFO, "geoseg"), pytest.raises(RasterError):
        fail()
    assert caplog.messages == []
    assert terminal.getvalue().endswith(console.CLEAR_LINE)


def test_lines_from_the_thread_of_a_scene_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    console.set_up_logging()
    thread = threading.Thread(target=lambda: console.log.warning("odd values"), name=f"{SCENE_THREAD}maps/a.tif")
    thread.start()
    thread.join()
    console.log.info("the end")
    assert terminal.getvalue() == "warning: maps/a.tif: odd values\nthe end\n"
