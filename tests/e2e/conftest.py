"""The product as a user runs it: the console script in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

VERIREGIME = Path(sys.executable).with_name("veriregime")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An installation of its own, without the settings of whoever runs the tests."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("VERIREGIME_")}
    return own | {"VERIREGIME_VAR_DIR": str(tmp_path_factory.mktemp("var")), "VERIREGIME_PORT": "0"}


@pytest.fixture(scope="session")
def veriregime(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the command line to its end, from a folder that is not the project's."""
    folder = tmp_path_factory.mktemp("cwd")

    def run(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(VERIREGIME), *arguments],
            env=environment | more,
            cwd=folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def demo_result(veriregime: Run) -> dict[str, Any]:
    done = veriregime("demo", "--once", "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result
