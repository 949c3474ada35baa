"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The repository root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real imagery and labels; tests that need it skip where it is absent."""
    folder = ROOT / "../shared/data"
    if not folder.is_dir():
        pytest.skip("the real imagery lies in ../shared/data, which is absent here")
    return folder
