"""The product as a user runs it: the console script in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser

from tests.e2e.browser import NONE_FOUND, Open, chromium, opened

VERIREGIME = Path(sys.executable).with_name("veriregime")
Run = Callable[..., subprocess.CompletedProcess[str]]
Wait = Callable[[float, Callable[[], Any]], Any]


@dataclass(frozen=True)
class Demo:
    """A demo that runs, with a confirmed forecast."""

    url: str
    var_dir: Path
    process: subprocess.Popen[bytes]
    log: Path


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


@pytest.fixture(scope="session")
def wait() -> Wait:
    """What ``look`` finds, as soon as it finds something."""

    def until(seconds: float, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s")

    return until


@pytest.fixture(scope="session")
def running_demo(environment: dict[str, str], wait: Wait) -> Callable[..., AbstractContextManager[Demo]]:
    """`veriregime demo` with these options in a process group of its own; ended by Ctrl-C, cleanly."""

    @contextmanager
    def run(folder: Path, *options: str) -> Iterator[Demo]:
        log = folder / "demo.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [str(VERIREGIME), "demo", *options],
                env=environment,
                stderr=output,
                stdout=output,
                start_new_session=True,
            )
        try:
            announced = re.compile(r"dashboard and API at (http://\S+)")
            url = wait(60, lambda: announced.search(log.read_text()))[1]
            wait(60, lambda: _is_confirmed(url))
            yield Demo(url, Path(environment["VERIREGIME_VAR_DIR"]), process, log)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(15) == 0, log.read_text()

    return run


def _is_confirmed(url: str) -> bool:
    answer = httpx2.get(f"{url}/v1/feeds/btc-usdt-4h/latest")
    return answer.status_code == 200 and answer.json()["status"] == "confirmed"


@pytest.fixture(scope="package")
def demo(
    running_demo: Callable[..., AbstractContextManager[Demo]],
    demo_result: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Demo]:
    """One demo for all who look at a running one, with a tick every six seconds. Keys were made by ``demo --once``."""
    with running_demo(tmp_path_factory.mktemp("demo"), "--speed", "10") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a file of tests: while it is open, nothing else in this process can run an event loop."""
    with chromium() as found:
        if found is None:
            pytest.skip(NONE_FOUND)
        yield found


@pytest.fixture
def visit(browser: Browser, demo: Demo) -> Iterator[Open]:
    """Opens a page of the demo."""
    with opened(browser, demo.url) as visiting:
        yield visiting
