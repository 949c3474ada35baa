"""Is this installation sound? Versions, pairings, inherited data paths, processor, GPU, memory and folders.

What could crash runs in a process of its own: a broken package is a line of the report, never the end of it.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from geoseg.memory import free_memory
from geoseg.processors import cores

Status = Literal["ok", "warn", "fail"]

DATA_VARIABLES = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")
"""Variables that QGIS, conda and OSGeo4W set in their shells, and that every PROJ and GDAL then follows."""

_PROBE_SECONDS = 180
_GIB = 2**30
_LITTLE_MEMORY = 4 * _GIB
_LITTLE_DISK = 5 * _GIB
_CPU_FLAGS = {
    "avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX512-BF16", "amx_tile": "AMX", "amx_bf16": "AMX-BF16",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        status: ``ok``, ``warn`` (works, may surprise) or ``fail``.
        detail: What was found.
        remedy: What to do; empty where all is well.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks, in the order of the report."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Nothing failed."""
        return all(check.status != "fail" for check in self.checks)

    def __str__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{check.status:<4}  {check.name:<{width}}  {check.detail}")
            if check.remedy:
                lines.append(f"{'':<4}  {'':<{width}}  -> {check.remedy}")
        count = {status: sum(check.status == status for check in self.checks) for status in ("ok", "warn", "fail")}
        return "\n".join([*lines, "", f"{count['ok']} ok, {count['warn']} to note, {count['fail']} failed"])


@dataclass(frozen=True, slots=True)
class _Probe:
    """Code that prints what it found, or fails."""

    name: str
    code: str
    remedy: str


_PROBES = (
    _Probe(
        "torch + torchvision",
        "import torch, torchvision; from torchvision.ops import nms; "
        "nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5); "
        "print(torch.__version__, 'and', torchvision.__version__, 'work together')",
        "install both anew from the same index: pip install --force-reinstall torch torchvision",
    ),
    _Probe(
        "torchgeo",
        "import torchgeo, torchgeo.datasets, torchgeo.samplers; print(torchgeo.__version__)",
        "pip install --upgrade torchgeo requests",
    ),
    _Probe(
        "segmentation models",
        "import segmentation_models_pytorch as smp; print(smp.__version__)",
        "pip install --upgrade segmentation-models-pytorch",
    ),
    _Probe(
        "rasterio",
        "import rasterio; print(rasterio.__version__, 'with GDAL', rasterio.__gdal_version__, "
        "'and PROJ', rasterio.__proj_version__)",
        "pip install --force-reinstall rasterio",
    ),
    _Probe(
        "pyogrio, geopandas",
        "import pyogrio, geopandas; print(pyogrio.__version__, 'with GDAL', pyogrio.__gdal_version_string__ + ',', "
        "geopandas.__version__)",
        "pip install --force-reinstall pyogrio geopandas",
    ),
    _Probe(
        "shapely",
        "import shapely; assert shapely.geos_version >= (3, 12), 'needs GEOS 3.12 or newer'; "
        "print(shapely.__version__, 'with GEOS', shapely.geos_version_string)",
        "pip install --upgrade 'shapely>=2.1'",
    ),
)

_GPU_PROBE = _Probe(
    "GPU",
    "import torch; c = torch.cuda.is_available(); m = torch.backends.mps.is_available(); "
    "p = torch.cuda.get_device_properties(0) if c else None; "
    "print(f'{p.name}, {p.total_memory / 2**30:.0f} GiB' if c else 'Apple MPS' if m else 'none')",
    "see the line on torch",
)

# Each transforms a point for real: a foreign proj.db is only noticed when it is read.
_DATA_PROBES = (
    _Probe(
        "PROJ of rasterio",
        "from rasterio.warp import transform; (x,), (y,) = transform('EPSG:4326', 'EPSG:32633', [15.0], [50.0]); "
        "assert abs(x - 500000) < 1 and abs(y - 5538630.7) < 1, (x, y); print('transforms correctly')",
        "pip install --force-reinstall rasterio",
    ),
    _Probe(
        "PROJ of pyproj",
        "from pyproj import Transformer; x, y = Transformer.from_crs(4326, 32633, always_xy=True).transform(15, 50); "
        "assert abs(x - 500000) < 1 and abs(y - 5538630.7) < 1, (x, y); print('transforms correctly')",
        "pip install --force-reinstall pyproj",
    ),
    _Probe(
        "GeoPackage writing",
        "import tempfile, geopandas, pyogrio, shapely\n"
        "frame = geopandas.GeoDataFrame(geometry=[shapely.Point(5e5, 5.5e6)], crs='EPSG:32633')\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    frame.to_file(folder + '/probe.gpkg', engine='pyogrio')\n"
        "    assert pyogrio.read_info(folder + '/probe.gpkg')['crs'] == 'EPSG:32633', 'the CRS is lost'\n"
        "print('keeps the CRS')",
        "pip install --force-reinstall pyogrio geopandas",
    ),
)


def diagnose() -> Diagnosis:
    """Check the installation and the machine. Takes some seconds: packages are really imported.

    Returns:
        One :class:`Check` for each thing looked at; never raises for what is broken.
    """
    with ThreadPoolExecutor(max_workers=max(1, min(4, cores()))) as pool:
        probed = list(pool.map(_probe_check, _PROBES))
        data = list(pool.map(_data_check, _DATA_PROBES))
        gpu = pool.submit(_gpu_check)
    return Diagnosis((
        _python_check(), *_requirement_checks(), *probed, *data, *_variable_checks(os.environ),
        gpu.result(), _processor_check(), _memory_check(), *_folder_checks(),
    ))  # fmt: skip


def _python_check() -> Check:
    return Check("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _requirement_checks(requirements: Sequence[str] | None = None) -> Iterator[Check]:
    """What geoseg declares against what is installed: one line where all fits, else one a package."""
    try:
        from packaging.requirements import Requirement

        declared = [Requirement(text) for text in requirements or metadata.requires("geoseg") or ()]
    except (ImportError, metadata.PackageNotFoundError) as error:
        yield Check("packages", "warn", f"needs unknown: {error}", "pip install --force-reinstall geoseg packaging")
        return
    needed = [r for r in declared if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = 0
    for requirement in needed:
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            found = ""
        if not found or not requirement.specifier.contains(found, prereleases=True):
            wrong += 1
            what = f"{found} is installed, geoseg needs {requirement.specifier}" if found else "not installed"
            yield Check(requirement.name, "fail", what, f'pip install "{requirement.name}{requirement.specifier}"')
    if not wrong:
        yield Check("packages", "ok", f"all {len(needed)} that geoseg needs are installed in versions that fit")


def _probe_check(probe: _Probe) -> Check:
    works, text = _run(probe.code, os.environ)
    return Check(probe.name, "ok", text) if works else Check(probe.name, "fail", text, probe.remedy)


def _data_check(probe: _Probe) -> Check:
    """A probe of PROJ or GDAL data; where it fails, the variable whose removal heals it is named."""
    works, text = _run(probe.code, os.environ)
    if works:
        return Check(probe.name, "ok", text)
    inherited = [name for name in DATA_VARIABLES if name in os.environ]
    for names in ([name] for name in inherited) if len(inherited) < 2 else [*([n] for n in inherited), inherited]:
        if _run(probe.code, {k: v for k, v in os.environ.items() if k not in names})[0]:
            paths = ", ".join(f"{name}={os.environ[name]}" for name in names)
            return Check(probe.name, "fail", f"led astray by {paths}: {text}", f"unset {' '.join(names)}")
    return Check(probe.name, "fail", text, probe.remedy)


def _run(code: str, environment: Mapping[str, str]) -> tuple[bool, str]:
    """Run ``code`` in a new interpreter: did it work, and its last line of output or the reason."""
    command = [sys.executable, "-P", "-W", "ignore", "-c", code]
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, errors="replace", timeout=_PROBE_SECONDS,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, f"could not be run: {error}"
    if done.returncode < 0:
        return False, f"crashed with {signal.Signals(-done.returncode).name}"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else f"exit code {done.returncode}"


def _variable_checks(environment: Mapping[str, str]) -> Iterator[Check]:
    """Inherited data paths that leave this installation; harmless or not, they explain odd errors."""
    for name in DATA_VARIABLES:
        value = environment.get(name)
        if value is None:
            continue
        if Path(value).resolve().is_relative_to(Path(sys.prefix).resolve()):
            yield Check(name, "ok", f"{value}, inside this installation")
        else:
            yield Check(name, "warn", f"{value} is not of this installation", f"unset {name}")


def _gpu_check() -> Check:
    check = _probe_check(_GPU_PROBE)
    if check.status == "ok" and check.detail == "none" and shutil.which("nvidia-smi"):
        detail = "an NVIDIA driver is installed, but this torch cannot use it"
        return Check(check.name, "warn", detail, "install the torch and torchvision builds for your CUDA version")
    return check


def _processor_check() -> Check:
    info = _text(Path("/proc/cpuinfo"))
    flags = set(next((line for line in info.splitlines() if line.startswith("flags")), "").split())
    known = [label for flag, label in _CPU_FLAGS.items() if flag in flags]
    return Check("processor", "ok", f"{cores()} cores{''.join(f', {label}' for label in known)}")


def _memory_check() -> Check:
    free = free_memory()
    if free is None:
        return Check("memory", "ok", "unknown on this system")
    status: Status = "ok" if free >= _LITTLE_MEMORY else "warn"
    remedy = "" if status == "ok" else "close other programs, or predict with a smaller --tile-size"
    return Check("memory", status, f"{free / _GIB:.1f} GiB available", remedy)


def _folder_checks() -> Iterator[Check]:
    try:
        yield _folder_check("temporary folder", Path(tempfile.gettempdir()), "set TMPDIR to a folder you can write to")
    except FileNotFoundError as error:
        yield Check("temporary folder", "fail", str(error), "set TMPDIR to a folder you can write to")
    yield _folder_check("current folder", Path.cwd(), "give --output in a folder you can write to", needed=False)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    yield _folder_check("cache folder", cache, "set XDG_CACHE_HOME to a folder you can write to", needed=False)


def _folder_check(name: str, folder: Path, remedy: str, *, needed: bool = True) -> Check:
    """Can something be written there, and is there room?"""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Check(name, "fail" if needed else "warn", f"{folder} cannot be written to: {error.strerror}", remedy)
    detail = f"{folder}, {free / _GIB:.1f} GiB free"
    return Check(name, "ok", detail) if free >= _LITTLE_DISK else Check(name, "warn", detail, "free some space")


def _text(path: Path) -> str:
    """Content of a file of the system, empty where there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""
