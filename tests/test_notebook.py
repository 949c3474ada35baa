"""The notebook runs from top to bottom and shows what it promises."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

NOTEBOOK = Path("notebooks/01_quickstart.ipynb")


@pytest.fixture
def kernel_of_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python3`` is the Python that runs the tests, whatever kernels a user has installed."""
    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("kernel_of_this_python")
def test_notebook_runs_and_shows_pictures(tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(project_root))
    notebook = nbformat.read(project_root / NOTEBOOK, as_version=4)
    start = time.monotonic()
    NotebookClient(
        notebook, kernel_name="python3", timeout=500, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    print(f"the notebook took {time.monotonic() - start:.0f} s")
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"], outputs
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 4
    assert sorted(p.name for p in (tmp_path / "quickstart").iterdir() if p.suffix != ".qml") == [
        "landcover.gpkg", "landcover.tif", "landcover.tif.aux.xml", "landcover_confidence.tif", "model.safetensors",
        "scene.tif", "truth.tif", "truth.tif.aux.xml",
    ]  # fmt: skip


def test_notebook_is_stored_clean(project_root: Path) -> None:
    """No outputs, so that differences show; nothing of the machine it was written on."""
    text = (project_root / NOTEBOOK).read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    assert all(not c["outputs"] and c["execution_count"] is None for c in cells if c["cell_type"] == "code")
    assert not re.search(r"(?<![\w.<])/(?:home|root|work|tmp|Users)/", text)
