"""Imports go one way: the layers of the house, walked in the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import geoseg

PACKAGE = Path(geoseg.__file__).parent

LAYERS = (
    {"choices", "disk", "durable", "errors", "legend", "memory", "processors", "threads", "tiling", "wording"},
    {"blending", "mirroring", "normalization", "metrics", "config", "refinement"},
    {"distributed", "grids", "measuring", "polygons", "polynomials", "qgis"},
    {"datasets", "rasters", "parts", "polygon_labels", "reports", "vectors", "samplers", "models", "predictors"},
    {"sources", "synthetic", "teamwork"},
    {"inference", "vectorization", "evaluation", "training", "inspection", "doctor", "pictures"},
    {"arrays"},
    {"__init__", "__main__", "cli"},
)
LAYER_OF = {unit: number for number, units in enumerate(LAYERS) for unit in units}
NO_SIDEWAYS = (3, 5)

TORCH_FAMILY = {
    "kornia", "lightning", "segmentation_models_pytorch", "timm", "torch", "torchgeo", "torchmetrics", "torchvision",
}  # fmt: skip
TORCH_UNITS = {"blending", "datasets", "samplers", "models", "predictors", "refinement", "sources", "training"}
DASK_FAMILY = {"bokeh", "dask", "distributed"}
DASK_UNITS = {"arrays", "distributed"}
XARRAY_FAMILY = {"odc", "rioxarray", "xarray"}
THIRD_PARTY = (
    set(),
    {"numba", "numpy", "pydantic", "yaml"},
    {"numba", "numpy", "affine", "shapely", "pyproj", "scipy"},
)
"""What layers 0, 1 and 2 may import beside the standard library."""


def unit_of(path: Path) -> str:
    """The module or package directly below geoseg that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[str, str, int]]:
    """(module, imported name or '', line) for every import statement of a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield from ((node.module or "", alias.name, node.lineno) for alias in node.names)


def internal_target(module: str, name: str) -> str:
    """The unit of geoseg that an import reaches."""
    parts = module.split(".")
    if len(parts) > 1:
        return parts[1]
    is_unit = name and ((PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir())
    return name if is_unit else "__init__"


SOURCES = sorted(PACKAGE.rglob("*.py"))
FILES = pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(PACKAGE)) for p in SOURCES])


def test_every_module_has_a_layer() -> None:
    assert {unit_of(path) for path in SOURCES} <= LAYER_OF.keys()


@FILES
def test_geoseg_is_imported_downwards_only(path: Path) -> None:
    unit = unit_of(path)
    layer = LAYER_OF[unit]
    for module, name, line in imports_of(path):
        # The version is a constant of the root, which is loaded before anything below it.
        if module.split(".")[0] != "geoseg" or (module, name) == ("geoseg", "__version__"):
            continue
        target = internal_target(module, name)
        if target == unit:
            continue
        below = LAYER_OF[target]
        assert below < layer or (below == layer and layer not in NO_SIDEWAYS), (
            f"{path.name}:{line}: {unit} (layer {layer}) imports {target} (layer {below})"
        )


@FILES
def test_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    unit = unit_of(path)
    layer = LAYER_OF[unit]
    for module, _, line in imports_of(path):
        top = module.split(".")[0]
        where = f"{path.name}:{line}: {unit} (layer {layer}) imports {top}"
        if top == "geoseg" or top in sys.stdlib_module_names:
            continue
        if top in TORCH_FAMILY:
            assert unit in TORCH_UNITS, where
        elif top in DASK_FAMILY:
            assert unit in DASK_UNITS, where
        elif top in XARRAY_FAMILY:
            assert unit == "arrays", where
        elif layer < len(THIRD_PARTY):
            assert top in THIRD_PARTY[layer], where
        elif layer == len(LAYERS) - 1:
            assert top == "typer", where


def loaded_by(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after ``code``."""
    script = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_geoseg_loads_nothing_heavy() -> None:
    assert not loaded_by("import geoseg") & (TORCH_FAMILY | {"numpy", "rasterio", "pydantic", "typer"})


@pytest.mark.parametrize(
    "module", ["vectorization", "evaluation", "inspection", "doctor", "synthetic", "models", "refinement"]
)
def test_torch_is_not_loaded_where_no_network_runs(module: str) -> None:
    assert not loaded_by(f"import geoseg.{module}") & TORCH_FAMILY


@pytest.mark.parametrize("module", ["inference.prediction", "inference.many", "distributed", "vectorization", "cli"])
def test_dask_is_not_loaded_where_no_cluster_is_asked_for(module: str) -> None:
    assert not loaded_by(f"import geoseg.{module}") & (DASK_FAMILY | XARRAY_FAMILY | {"tornado"})


def test_neither_torch_nor_xarray_is_loaded_with_the_unit_for_arrays() -> None:
    assert not loaded_by("import geoseg.arrays") & (DASK_FAMILY | TORCH_FAMILY | XARRAY_FAMILY)


def test_public_names_are_all_there() -> None:
    for name in geoseg.__all__:
        assert getattr(geoseg, name) is not None
    assert dir(geoseg) == sorted(geoseg.__all__)


def test_public_functions_survive_a_second_access() -> None:
    """A module named like a public function would replace it once it is imported."""
    for name in geoseg.__all__:
        assert getattr(geoseg, name) is getattr(geoseg, name)
        assert not (PACKAGE / f"{name}.py").exists()
        assert not (PACKAGE / name).exists()


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'predikt'"):
        geoseg.predikt  # noqa: B018
