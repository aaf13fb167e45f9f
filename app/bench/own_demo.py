"""The demo as a process of its own, started as anybody starts it, for the benches that watch a running system.

What it is and how it stands is asked of the system and of its HTTP side; nothing of it runs in the bench's process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from app.bench.served import Server
from app.errors import ChildDidNotStart, NoForecastYet
from app.processes import leashed
from app.settings import Settings
from app.web.server import listen

Say = Callable[[str], None]
_START_LIMIT_S = 240.0
_END_LIMIT_S = 20.0
_LOOK_EVERY_S = 0.25
_DATABASE = "veriregime.db"
_CLOCK = ("--market-start-ms", "--wall-start-ms", "--speed")


@dataclass(frozen=True, slots=True)
class OwnDemo:
    """A demo at work. ``database`` is the service's own SQLite file."""

    url: str
    pid: int
    database: Path
    speed: float
    environment: Mapping[str, str]
    """What it was started with."""

    def clock(self) -> list[str]:
        """The market's clock as options of a role: as its attesters were told it."""
        for child in psutil.Process(self.pid).children():
            words = child.cmdline()
            if all(option in words for option in _CLOCK):
                return [part for option in _CLOCK for part in (option, words[words.index(option) + 1])]
        raise ChildDidNotStart("the demo has no attester that tells the market's clock")

    def feeds(self) -> list[str]:
        with urllib.request.urlopen(f"{self.url}/v1/feeds", timeout=30) as answer:  # noqa: S310  our own address
            return [feed["feed"] for feed in json.load(answer)["feeds"]]


@contextmanager
def own_demo(settings: Settings, speed: float, say: Say, **variables: str) -> Iterator[OwnDemo]:
    """At work, with a proved forecast of every feed, until the block ends. ``variables`` are further settings of it.

    Raises `ChildDidNotStart` with its last words, or `NoForecastYet`.
    """
    port = _free_port()
    environment = demo_environment(settings) | variables
    command = [sys.executable, "-m", "app.cli", "--quiet", "demo", "--port", str(port), "--speed", str(speed)]
    with tempfile.TemporaryFile("w+") as complaints, _leash(command, environment, complaints) as leash:
        say("the demo starts")
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, leash, complaints)
        demo = _child(leash)
        yield OwnDemo(url, demo.pid, _database_of(demo), speed, environment)


def demo_environment(settings: Settings) -> dict[str, str]:
    """Of a process on the keys, models and contracts of ``settings``, on this machine alone and without a limit on what
    a client may ask: a bench is one client."""
    return {**os.environ} | {
        "VERIREGIME_VAR_DIR": str(settings.var_dir.resolve()),
        "VERIREGIME_MODELS_DIR": str(settings.models_dir.resolve()),
        "VERIREGIME_CONTRACTS_DIR": str(settings.contracts_dir.resolve()),
        "VERIREGIME_HOST": "127.0.0.1",
        "VERIREGIME_VERIFY_RATE": "",
        "VERIREGIME_BUNDLE_RATE": "",
    }


@contextmanager
def api_beside(demo: OwnDemo) -> Iterator[Server]:
    """A ``veriregime api`` on the demo's database until the block ends."""
    port = _free_port()
    environment = {**demo.environment} | {
        "VERIREGIME_DATABASE_URL": f"sqlite:///{demo.database}",
        "VERIREGIME_FEEDS": ",".join(demo.feeds()),
    }
    command = [sys.executable, "-m", "app.cli", "--quiet", "api", "--port", str(port), *demo.clock()]
    with tempfile.TemporaryFile("w+") as complaints, _leash(command, environment, complaints) as leash:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, leash, complaints)
        yield Server(url, "127.0.0.1", port, _child(leash).pid)


@contextmanager
def _leash(
    command: list[str], environment: Mapping[str, str], complaints: IO[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Through `app.processes`, which ends the program when we end, however that is; in order where we can ask."""
    leash = subprocess.Popen(
        leashed(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=complaints,
        env={**environment},
        start_new_session=True,  # Ctrl-C is for us, who then end it
    )
    try:
        yield leash
    finally:
        with suppress(psutil.NoSuchProcess, ChildDidNotStart, subprocess.TimeoutExpired):
            _child(leash).terminate()
            leash.wait(_END_LIMIT_S)
        assert leash.stdin is not None  # noqa: S101  opened above
        leash.stdin.close()
        leash.wait()


def _child(leash: subprocess.Popen[bytes]) -> psutil.Process:
    children = psutil.Process(leash.pid).children()
    if not children:
        raise ChildDidNotStart("it has ended")
    return children[0]


def _wait_until_ready(url: str, leash: subprocess.Popen[bytes], complaints: IO[str]) -> None:
    limit = time.monotonic() + _START_LIMIT_S
    while not _is_ready(url):
        if leash.poll() is not None:
            complaints.seek(0)
            said = complaints.read().strip().splitlines()
            raise ChildDidNotStart(f"it ended: {said[-1] if said else 'without a word'}")
        if time.monotonic() > limit:
            raise NoForecastYet(f"no proved forecast of every feed at {url} after {_START_LIMIT_S:g} s")
        time.sleep(_LOOK_EVERY_S)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:  # noqa: S310  our own address
            told: dict[str, Any] = json.load(answer)
            return bool(told["ready"])
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def _free_port() -> int:
    with listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        return port


def _database_of(demo: psutil.Process) -> Path:
    """The SQLite file that it has open: it lies in a folder of the run's own. Libraries have files of theirs."""
    for file in demo.open_files():
        if Path(file.path).name == _DATABASE:
            return Path(file.path)
    raise ChildDidNotStart("the demo has no SQLite file open")
