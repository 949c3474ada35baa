"""The command line: what goes where, exit codes, one-line errors, a quick start."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geoseg
from geoseg.cli import console, main
from geoseg.cli.options import parse_minima
from geoseg.cli.progress import ProgressBar, duration, progress_bar
from geoseg.errors import OutputExistsError, RasterError
from geoseg.inference import Estimate, Outcome, Settings
from geoseg.inference.settings import Choices

Run = Callable[..., tuple[int, str, str]]

PYTHON = [sys.executable, "-m", "geoseg"]


@dataclass(frozen=True)
class FakePrediction:
    labels: Path
    confidence: Path | None
    seam_score: float | None = 1.01
    seam_changes: int = 1000
    shares: dict[str, float] = field(default_factory=lambda: {"read": 0.01, "network": 0.98})
    seconds: float = 2.0
    share: float = float("nan")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run geoseg in this process: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["geoseg", *arguments])
        monkeypatch.setattr(console.state, "debug", False)
        with warnings.catch_warnings():
            try:
                main()
            except SystemExit as stop:
                code = stop.code
        out, err = capsys.readouterr()
        assert isinstance(code, int)
        return code, out, err

    return run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., Any]], None]:
    """Put a function in place of a public one, without importing the real one."""
    return lambda name, function: monkeypatch.setitem(geoseg.__dict__, name, function)


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_: object, **__: object) -> None:
        raise error

    return function


def test_predict_prints_only_the_path_and_passes_everything_on(run: Run, fake: Any) -> None:
    seen: dict[str, Any] = {}

    def predict(*args: object, progress: Any, **options: object) -> FakePrediction:
        seen.update(options, args=args)
        progress(4, 4)
        return FakePrediction(Path("a b.tif"), Path("c.tif"))

    fake("predict", predict)
    code, out, err = run(
        "predict", "scene.tif", "-m", "net", "-o", "a b.tif", "--bands", "4,3,2", "--tile-size", "64",
        "--overlap", "16", "--blend", "crop", "--batch", "2", "--device", "cpu", "--confidence",
        "--value-range", "0,3e3", "--overwrite", "--no-resume", "--backend", "torch", "--precision", "bf16",
        "--check-precision", "--tta", "d4", "--scales", "0.75,1", "--uncertainty", "mc=5", "--probabilities",
        "--refine", "crf,radius=2m",
        "--aoi", "area.gpkg", "--bbox", "1,2,3,4.5", "--bbox-crs", "EPSG:4326", "--window", "0,8,64,64",
        "--gsd", "0.3", "--parts-folder", "s3://bucket/parts",
    )  # fmt: skip
    assert (code, out) == (0, "a b.tif\n")
    assert "confidence: c.tif" in err
    assert "busy: read 1 %, network 98 % of 2.0 s; seam score 1.010" in err
    assert seen == {
        "args": ("scene.tif", "net", Path("a b.tif")), "bands": (4, 3, 2), "tile_size": 64, "overlap": 16,
        "parts_folder": "s3://bucket/parts",
        "blend": "crop", "batch": 2, "device": "cpu", "confidence": True, "value_range": (0.0, 3000.0),
        "overwrite": True, "resume": False, "backend": "torch", "precision": "bf16", "check_precision": True,
        "tta": "d4", "scales": (0.75, 1.0), "uncertainty": "mc=5", "probabilities": True, "aoi": "area.gpkg",
        "refine": "crf,radius=2m",
        "bbox": (1.0, 2.0, 3.0, 4.5), "bbox_crs": "EPSG:4326", "window": (0, 8, 64, 64), "gsd": 0.3,
    }  # fmt: skip


def test_defaults_of_the_command_are_those_of_the_function(run: Run, fake: Any) -> None:
    seen: dict[str, Any] = {}

    def predict(*args: object, progress: Any, **options: object) -> FakePrediction:
        seen.update(options, args=args)
        return FakePrediction(Path("out.tif"), None)

    signature = inspect.signature(geoseg.predict)
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    fake("predict", predict)
    run("predict", "scene.tif")
    assert seen.pop("args") == ("scene.tif", *(signature.parameters[name].default for name in ("model", "output")))
    for name, value in seen.items():
        assert value == (defaults[name] if name in defaults else signature.parameters[name].default), name
    assert set(seen) == set(defaults) | {"overwrite", "resume"}


def test_the_choices_of_a_prediction_are_its_settings() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert set(Choices.__annotations__) == fields
    command = inspect.signature(importlib.import_module("geoseg.cli.predict").predict).parameters
    assert fields < set(command)


def test_two_models_are_an_ensemble(run: Run, fake: Any) -> None:
    seen: list[object] = []

    def predict(*args: object, **_: object) -> FakePrediction:
        seen.extend(args)
        return FakePrediction(Path("out.tif"), None)

    fake("predict", predict)
    run("predict", "scene.tif", "-m", "a", "--model", "b")
    assert seen[1] == ["a", "b"]


def test_a_mosaic_is_one_scene(run: Run, fake: Any) -> None:
    seen: list[object] = []

    def predict(*args: object, **_: object) -> FakePrediction:
        seen.extend(args)
        return FakePrediction(Path("out.tif"), None)

    fake("predict", predict)
    fake("find_scenes", lambda names: [*names, "c.tif"])
    assert run("predict", "a.tif", "b.tif", "--mosaic", "-o", "out.tif")[0] == 0
    assert seen[0] == ["a.tif", "b.tif", "c.tif"]


def test_one_bad_scene_of_many_is_told_and_the_rest_go_on(run: Run, fake: Any) -> None:
    def predict_scenes(scenes: list[str], *_: object, progress: Any, **__: object) -> Iterator[Any]:
        for scene in scenes:
            with progress(scene):
                bad = scene == "b.tif"
                yield Outcome(
                    scene,
                    None if bad else FakePrediction(Path(f"{scene}_map"), None),  # type: ignore[arg-type]
                    RasterError("no\nbands") if bad else None,
                )

    fake("predict_scenes", predict_scenes)
    code, out, err = run("predict", "a.tif", "b.tif", "c.tif")
    assert (code, out) == (1, "a.tif_map\nc.tif_map\n")
    assert "error: b.tif: no bands\n" in err
    assert err.endswith("error: 1 of 3 scenes failed: b.tif\n")
    code, out, _ = run("predict", "a.tif", "b.tif", "--json")
    assert code == 1
    assert [r.get("error") for r in json.loads(out)] == [None, "no bands"]


def test_a_dry_run_tells_the_cost(run: Run, fake: Any) -> None:
    cost = Estimate(121, 60, 3, 0.5, 3 * 2**29, 5 * 2**20, 12.3, "torch", "asked for")
    fake("estimate_prediction", lambda *_, **__: cost)
    code, out, _ = run("predict", "s.tif", "--dry-run")
    assert code == 0
    assert out == (
        "s.tif: 60 of 121 tiles, 50 % with data, 3 parts; about 1.5 GiB of memory, 5 MiB of disk, 12.3 s with torch "
        "(asked for)\n"
    )
    assert json.loads(run("predict", "s.tif", "--dry-run", "--json")[1])["wanted_tiles"] == 60


def test_a_dry_run_goes_on_after_a_bad_scene(run: Run, fake: Any) -> None:
    def estimate(scene: str, *_: object, **__: object) -> Estimate:
        if scene == "b.tif":
            raise RasterError("no bands")
        return Estimate(121, 60, 3, 0.5, 3 * 2**29, 5 * 2**20, 12.3, "torch", "asked for")

    fake("estimate_prediction", estimate)
    fake("find_scenes", lambda names: names)
    code, out, err = run("predict", "a.tif", "b.tif", "c.tif", "--dry-run")
    assert code == 1
    assert [line[:6] for line in out.splitlines()] == ["a.tif:", "c.tif:"]
    assert err == "error: b.tif: no bands\nerror: 1 of 3 scenes failed: b.tif\n"
    records = json.loads(run("predict", "a.tif", "b.tif", "--dry-run", "--json")[1])
    assert [(r["scene"], "cost" in r, r.get("error")) for r in records] == [
        ("a.tif", True, None),
        ("b.tif", False, "no bands"),
    ]


def test_a_dry_run_of_a_folder_is_a_list(run: Run, fake: Any, tmp_path: Path) -> None:
    """As a folder's predictions are, however many scenes it has."""
    fake("estimate_prediction", lambda *_, **__: Estimate(1, 1, 1, 1.0, 1, 1))
    fake("find_scenes", lambda _: ["only.tif"])
    records = json.loads(run("predict", str(tmp_path), "--dry-run", "--json")[1])
    assert [r["scene"] for r in records] == ["only.tif"]


@pytest.mark.parametrize("name", ["evaluate", "info", "submission"])
def test_parameters_are_named_as_in_python(name: str) -> None:
    from importlib import import_module

    command = inspect.signature(getattr(import_module(f"geoseg.cli.{name}"), name)).parameters
    function = inspect.signature(getattr(geoseg, "write_submission" if name == "submission" else name)).parameters
    assert set(command) - {"json", "_debug"} <= set(function)
    assert set(function) - set(command) <= {"progress", "window"}


def test_options_are_named_as_in_python() -> None:
    from geoseg.cli.vectorize import vectorize
    from geoseg.distributed import ClusterChoices
    from geoseg.vectorization import Choices

    command = set(inspect.signature(vectorize).parameters)
    command -= {"json", "_debug", "raster", "output", "overwrite", "resume"}
    assert command == {*Choices.__annotations__, *ClusterChoices.__annotations__} - {"strip_height", "client"}


@pytest.mark.parametrize(
    ("text", "minima"),
    [
        (None, 0.0),
        ("20", 20.0),
        ("building=20,forest=500", {"building": 20.0, "forest": 500.0}),
        ("10, 4 = 2.5", {"*": 10.0, "4": 2.5}),
    ],
)
def test_minima_by_class(text: str | None, minima: object) -> None:
    assert parse_minima(text) == minima


def test_json_goes_to_stdout_and_has_null_for_nan(run: Run, fake: Any) -> None:
    fake("predict", lambda *_, **__: FakePrediction(Path("labels.tif"), None))
    code, out, _ = run("predict", "scene.tif", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["labels"], found["confidence"], found["share"]) == ("labels.tif", None, None)


def test_json_of_numpy_mappings_and_tuples() -> None:
    value = {1: np.float32(0.5), "a": (np.int64(3), np.array([1, 2])), "inf": float("inf"), "ok": np.bool_(True)}
    assert console._plain(value) == {"1": 0.5, "a": [3, [1, 2]], "inf": None, "ok": True}
    with pytest.raises(TypeError, match="object has no form"):
        console._plain(object())


def test_vectorize_and_evaluate(run: Run, fake: Any) -> None:
    fake("vectorize", lambda raster, _output, **options: Path(f"{raster}.{options['min_area']:g}.gpkg"))
    assert run("vectorize", "map.tif", "--min-area", "100")[:2] == (0, "map.tif.100.gpkg\n")
    code, out, _ = run("vectorize", "map.tif", "--json")
    assert (code, json.loads(out)) == (0, {"output": "map.tif.0.gpkg"})


def test_evaluate_prints_a_table_or_json(run: Run, fake: Any) -> None:
    class Result:
        def to_dict(self) -> dict[str, object]:
            return {"overall_accuracy": 0.5, "kappa": None}

        def __str__(self) -> str:
            return "overall accuracy 0.5"

    fake("evaluate", lambda *_, **__: Result())
    assert json.loads(run("evaluate", "a.tif", "b.tif", "--json")[1]) == {"overall_accuracy": 0.5, "kappa": None}
    assert run("evaluate", "a.tif", "b.tif")[1] == "overall accuracy 0.5\n"


def test_a_geoseg_error_is_one_line_and_exit_1(run: Run, fake: Any) -> None:
    fake("predict", raising(OutputExistsError("out.tif exists;\n give --overwrite")))
    assert run("predict", "scene.tif") == (1, "", "error: out.tif exists; give --overwrite\n")


def test_an_unexpected_error_is_one_line_too(run: Run, fake: Any) -> None:
    fake("predict", raising(KeyError("x")))
    code, out, err = run("predict", "scene.tif")
    assert (code, out) == (1, "")
    assert err == "error: unexpected KeyError: 'x'; run again with --debug\n"


@pytest.mark.parametrize("arguments", [("--debug", "predict", "s.tif"), ("predict", "s.tif", "--debug")])
def test_debug_shows_the_traceback(run: Run, fake: Any, arguments: tuple[str, ...]) -> None:
    fake("predict", raising(RasterError("no bands")))
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("Traceback")
    assert err.endswith("error: no bands\n")


@pytest.mark.parametrize(
    "text",
    [
        "PROJ: internal_proj_create_from_database: Cannot find proj.db",
        "PROJ: proj_create: /x/proj.db contains DATABASE.LAYOUT.VERSION.MINOR = 0 whereas a number >= 4 is expected",
    ],
)
def test_a_data_clash_names_the_variable(run: Run, fake: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    error = RasterError("scene.tif has a CRS that cannot be read")
    error.__cause__ = ValueError(text)
    for name in console._CLASH_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    fake("predict", raising(error))
    assert "unset" not in run("predict", "scene.tif")[2]
    monkeypatch.setenv("PROJ_LIB", "/elsewhere/share/proj")
    code, _, err = run("predict", "scene.tif")
    assert code == 1
    assert err.count("\n") == 1
    assert "unset PROJ_LIB and run again" in err


def test_a_broken_installation_points_to_doctor(run: Run, fake: Any) -> None:
    fake("predict", raising(RuntimeError("operator torchvision::nms does not exist")))
    assert "geoseg doctor" in run("predict", "scene.tif")[2]


def test_ctrl_c_is_130(run: Run, fake: Any) -> None:
    fake("predict", raising(KeyboardInterrupt()))
    code, out, err = run("predict", "scene.tif")
    assert (code, out) == (130, "")
    assert err.startswith("interrupted: the output is not finished; run the same command again: geoseg ")


@pytest.mark.parametrize(("stop", "exit_code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_an_interruption_inside_another_error_is_one(run: Run, fake: Any, stop: BaseException, exit_code: int) -> None:
    wrapping = RuntimeError("Error calling __set_name__ on something")
    wrapping.__cause__ = stop
    fake("predict", raising(wrapping))
    code, out, err = run("predict", "scene.tif")
    assert (code, out) == (exit_code, "")
    assert err.startswith("interrupted: ")
    assert err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_sigint_to_a_process() -> None:
    code = (
        "import sys, time, geoseg\n"
        "def predict(*_, **__):\n    print('ready', file=sys.stderr, flush=True)\n    time.sleep(60)\n"
        "geoseg.__dict__['predict'] = predict\n"
        "sys.argv = ['geoseg', 'predict', 's.tif']\n"
        "from geoseg.cli import main\nmain()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("interrupted")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("predict",), "SCENE"),
        (("predict", "s.tif", "--blend", "magic"), "hann"),
        (("predict", "s.tif", "--bands", "red"), "4,3,2"),
        (("predict", "s.tif", "--bands", "0,1"), "4,3,2"),
        (("predict", "s.tif", "--value-range", "5"), "0,10000"),
        (("predict", "s.tif", "--bbox", "1,2,3"), "4 numbers"),
        (("predict", "s.tif", "--window", "0,0,9.5,9"), "whole pixels"),
        (("predict", "s.tif", "--scales", "big"), "0.75,1,1.25"),
        (("predict", "s.tif", "--batch", "many"), "auto"),
        (("predict", "s.tif", "--gsd", "fine"), "native"),
        (("predict", "s.tif", "--backend", "magic"), "openvino"),
        (("predict", "s.tif", "--no-such-option"), "--no-such-option"),
        (("no-such-command",), "no-such-command"),
        (("vectorize", "r.tif", "--min-area", "-1"), "--min-area"),
        (("vectorize", "r.tif", "--min-area", ""), "--min-area"),
        (("vectorize", "r.tif", "--min-area", "1=5,1=7"), "two areas for 1"),
        (("vectorize", "r.tif", "--min-area", "10,20"), "two areas for all classes"),
        (("vectorize", "r.tif", "--smooth", "6"), "--smooth"),
    ],
)
def test_a_wrong_command_line_is_exit_2(run: Run, arguments: tuple[str, ...], complaint: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert complaint in err
    assert "Traceback" not in err


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"geoseg {geoseg.__version__}\n", "")


@pytest.mark.parametrize(
    "command", ["predict", "vectorize", "evaluate", "submission", "info", "models", "doctor", "demo"]
)
def test_every_command_has_help(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert "--debug" in out
    assert "--json" in out


def test_python_warnings_become_lines_of_the_log(run: Run, fake: Any) -> None:
    def predict(*_: object, **__: object) -> FakePrediction:
        warnings.simplefilter("always")
        warnings.warn("pixels are\nodd", UserWarning, stacklevel=1)
        logging.getLogger("geoseg").info("a notice")
        logging.getLogger("geoseg").warning("values are %d", 3)
        logging.getLogger("some.library").info("not for users")
        logging.getLogger("rasterio._err").error("said again by the exception")
        return FakePrediction(Path("out.tif"), None)

    fake("predict", predict)
    code, out, err = run("predict", "scene.tif")
    assert (code, out) == (0, "out.tif\n")
    assert err.startswith("warning: pixels are odd\na notice\nwarning: values are 3\nbusy: ")


def test_a_closed_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PYTHON, "--version"], stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_help_is_quick_and_light() -> None:
    def seconds() -> float:
        """Processor time: what it takes where nothing else runs."""
        before = os.times()
        subprocess.run([*PYTHON, "--help"], stdout=subprocess.DEVNULL, check=True, timeout=60)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(5)) < 0.3
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "geoseg", "predict", "--help"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "typer" in imported
    assert not imported & {"numpy", "rasterio", "torch", "shapely", "geopandas"}


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_share_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(), Clock()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = ProgressBar("predict", clock)
    clock.now = 5.0  # loading the model
    bar(1_000_000, 4_000_000)
    clock.now = 7.0
    bar(2_000_000, 4_000_000)
    assert terminal.getvalue().endswith("50 %  0.50 Mpx/s  4.0 s left")
    console.write_stderr("warning: odd")
    assert terminal.getvalue().endswith("left\r\x1b[Kwarning: odd\n")
    bar.close(finished=False)
    assert terminal.getvalue().endswith("odd\n")


def test_without_a_terminal_there_is_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    bar = ProgressBar("predict", clock)
    with caplog.at_level(logging.INFO, "geoseg"):
        for second in range(1, 26):
            clock.now = float(second)
            bar(second * 1_000_000, 25_000_000)
        bar.close(finished=True)
    assert caplog.messages == [
        "predict 40 %  1.00 Mpx/s  15.0 s left",
        "predict 80 %  1.00 Mpx/s  5.0 s left",
        "predict: 25.00 Mpx in 25.0 s, 1.00 Mpx/s",
    ]


def test_the_bar_goes_when_the_job_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    def fail() -> None:
        with progress_bar("predict") as progress:
            time.sleep(0.11)
            progress(1, 2)
            raise RasterError("no")

    with pytest.raises(RasterError):
        fail()
    assert "50 %" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_duration() -> None:
    assert [duration(s) for s in (0, 59.94, 60, 3599, 3661)] == ["0.0 s", "59.9 s", "1:00", "59:59", "1:01:01"]
