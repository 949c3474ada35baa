"""The doctor finds what is broken, names the remedy, and never breaks itself."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from geoseg import doctor
from geoseg.doctor import Check, Diagnosis


def test_versions_that_fit_are_one_line() -> None:
    (check,) = doctor._requirement_checks(["pytest>=8", "hypothesis", "absent; extra == 'train'"])
    assert check.status == "ok"
    assert "all 2" in check.detail


def test_missing_and_wrong_versions_are_named_with_their_remedy() -> None:
    missing, wrong = doctor._requirement_checks(["no-such-package>=2", "pytest<1"])
    assert missing == Check("no-such-package", "fail", "not installed", 'pip install "no-such-package>=2"')
    assert wrong.status == "fail"
    assert wrong.detail == f"{metadata.version('pytest')} is installed, geoseg needs <1"


def test_geoseg_without_metadata_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(_: str) -> list[str]:
        raise metadata.PackageNotFoundError("geoseg")

    monkeypatch.setattr(metadata, "requires", requires)
    (check,) = doctor._requirement_checks()
    assert check.status == "warn"


@pytest.mark.parametrize(
    ("code", "works", "text"),
    [
        ("print('a'); print('b')", True, "b"),
        ("import no_such_module", False, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", False, "crashed with SIGSEGV"),
        ("raise SystemExit(3)", False, "exit code 3"),
    ],
)
def test_a_probe_survives_whatever_its_code_does(code: str, works: bool, text: str) -> None:
    assert doctor._run(code, {}) == (works, text)


def test_a_probe_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE_SECONDS", 0.2)
    works, text = doctor._run("import time; time.sleep(60)", {})
    assert not works
    assert "timed out" in text


def test_the_torchvision_pairing_is_really_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (tmp_path / "torch.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    probe = next(p for p in doctor._PROBES if "torchvision" in p.name)
    check = doctor._probe_check(probe)
    assert check.status == "fail"
    assert check.detail == "RuntimeError: operator torchvision::nms does not exist"
    assert "same index" in check.remedy


@pytest.mark.parametrize("inherited", ["PROJ_LIB", "PROJ_DATA"])
def test_a_foreign_proj_database_is_found_by_using_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherited: str
) -> None:
    for name in doctor.DATA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(inherited, str(tmp_path))
    monkeypatch.setenv("GDAL_DATA", str(tmp_path))
    check = doctor._data_check(doctor._DATA_PROBES[0])
    assert check.status == "fail"
    assert check.remedy == f"unset {inherited}"
    assert str(tmp_path) in check.detail
    statuses = {check.name: check.remedy for check in doctor._variable_checks({inherited: str(tmp_path)})}
    assert statuses == {inherited: f"unset {inherited}"}


def test_two_variables_that_both_mislead_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in doctor.DATA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROJ_LIB", "a")
    monkeypatch.setenv("PROJ_DATA", "b")
    probe = doctor._Probe("both", "import os; assert not {'PROJ_LIB', 'PROJ_DATA'} & os.environ.keys()", "reinstall")
    assert doctor._data_check(probe).remedy == "unset PROJ_LIB PROJ_DATA"
    broken = doctor._Probe("broken", "raise ValueError('x')", "reinstall")
    assert doctor._data_check(broken) == Check("broken", "fail", "ValueError: x", "reinstall")


def test_data_of_this_installation_is_no_concern() -> None:
    (check,) = doctor._variable_checks({"GDAL_DATA": f"{sys.prefix}/share/gdal"})
    assert check.status == "ok"


@pytest.mark.parametrize(
    ("free", "status", "detail"),
    [
        (8 * 2**30, "ok", "8.0 GiB available"),
        (2**30, "warn", "1.0 GiB available"),
        (None, "ok", "unknown on this system"),
    ],
)
def test_memory(monkeypatch: pytest.MonkeyPatch, free: int | None, status: str, detail: str) -> None:
    monkeypatch.setattr(doctor, "free_memory", lambda: free)
    check = doctor._memory_check()
    assert (check.status, check.detail) == (status, detail)


def test_processor_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_text", lambda _: "processor: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile\n")
    assert doctor._processor_check().detail.endswith("AVX2, AVX-512, AVX512-BF16, AMX")


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._folder_check("temp", tmp_path / "not" / "yet", "x").detail.startswith(str(tmp_path))

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    assert doctor._folder_check("temp", tmp_path, "set TMPDIR").status == "fail"
    assert doctor._folder_check("cache", tmp_path, "set X", needed=False).status == "warn"


def test_the_report_is_aligned_and_counts() -> None:
    diagnosis = Diagnosis(
        (Check("a", "ok", "fine"), Check("long", "warn", "odd", "do it"), Check("b", "fail", "bad", "mend"))
    )
    assert not diagnosis.ok
    assert str(diagnosis).splitlines() == [
        "ok    a     fine",
        "warn  long  odd",
        "            -> do it",
        "fail  b     bad",
        "            -> mend",
        "",
        "1 ok, 1 to note, 1 failed",
    ]


@pytest.mark.slow
def test_this_installation_is_sound() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "geoseg", "doctor", "--json"], capture_output=True, text=True, check=False, timeout=280
    )
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (0, True), report
    assert {check["name"] for check in report["checks"]} >= {"Python", "torch + torchvision", "GPU", "memory"}
