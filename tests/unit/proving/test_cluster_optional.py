"""Dask is there for those who ask for it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(program: str) -> str:
    """In a process of its own; what it printed."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_embedded_default__never_imports_dask() -> None:
    loaded = run(
        "import sys, app.cli, app.wiring, app.serve; print([m for m in ('dask', 'distributed') if m in sys.modules])"
    )
    assert loaded == "[]"


@pytest.mark.parametrize("module", ["cluster", "cluster_worker"])
def test_without_the_extra__what_to_install_is_said(module: str) -> None:
    said = run(
        f"""
import sys
sys.modules["distributed"] = None
from app.errors import ToolMissing
try:
    import app.proving.{module}
except ToolMissing as error:
    print(error)
"""
    )
    assert said == "distributed is not installed: pip install 'veriregime[cluster]'"
