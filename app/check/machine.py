"""What the machine itself gives: Python, room, memory, a port, what npm and the extras bring."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import requests

import app.web
from app.chain.compiler import node_tool
from app.check.finding import Finding, Level
from app.errors import Misconfigured, PortInUse, ToolMissing
from app.settings import Settings
from app.web.server import listen

_MIB = 2**20
_LITTLE_ROOM_MIB, _NO_ROOM_MIB = 2048, 200
"""A month of three venues and their proofs takes some hundred MiB."""
_SERVICE_MIB, _PROVER_MIB = 300, 100
"""As measured, rounded up: `bench serving`."""
_PAGES = ("index.html", "prediction.html", "docs.html")
_CGROUP = Path("/sys/fs/cgroup")
_EXTRAS = (
    ("train", "torch", "only training needs it"),
    ("postgres", "psycopg", "only PostgreSQL needs it"),
    ("cluster", "distributed", "only proving by a Dask cluster needs it"),
    ("tracing", "opentelemetry-sdk", "only traces need it"),
)


def python(settings: Settings) -> Iterator[Finding]:
    """An older one than 3.11 does not come this far."""
    detail = f"Python {sys.version.split()[0]}, ezkl {version('ezkl')}, onnxruntime {version('onnxruntime')}"
    yield Finding("python", Level.OK, detail)


def spelling(unknown: Sequence[str], given: int, settings: Settings) -> Iterator[Finding]:
    known = [f"VERIREGIME_{name.upper()}" for name in Settings.model_fields]
    for name in unknown:
        near = get_close_matches(name.upper(), known, n=1)
        meant = f"write {near[0]}" if near else "take it away"
        yield Finding("settings", Level.WARNING, f"{name} is set, and no setting has this name", meant)
    if not unknown:
        yield Finding("settings", Level.OK, f"{given} of {len(known)} are set: `veriregime settings --current`")


def port(settings: Settings) -> Iterator[Finding]:
    place = f"{settings.host}:{settings.port}"
    try:
        listen(settings.host, settings.port).close()
    except PortInUse as error:
        if _is_ours(settings):
            yield Finding("port", Level.OK, f"VeriRegime is running at {place}")
            return
        detail = str(error).partition(": stop")[0]
        yield Finding("port", Level.FAILED, detail, "stop what uses it, or choose another with VERIREGIME_PORT")
        return
    except Misconfigured as error:
        yield Finding("port", Level.FAILED, str(error), "set VERIREGIME_HOST to an address of this machine")
        return
    yield Finding("port", Level.OK, f"{place} is free" if settings.port else "a free one is taken")


def disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.var_dir
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".check").touch()
    (folder / ".check").unlink()
    free_mib = shutil.disk_usage(folder).free // _MIB
    detail = f"{free_mib:,} MiB free in {folder}"
    if free_mib >= _LITTLE_ROOM_MIB:
        yield Finding("disk", Level.OK, detail)
    else:
        level = Level.FAILED if free_mib < _NO_ROOM_MIB else Level.WARNING
        yield Finding("disk", level, detail, "make room, or set VERIREGIME_VAR_DIR to a folder that has some")


def memory(settings: Settings) -> Iterator[Finding]:
    needed_mib = _SERVICE_MIB + _PROVER_MIB * settings.prover_workers
    free_mib = _available_bytes() // _MIB
    detail = f"{free_mib:,} MiB available, the service with {settings.prover_workers} prover(s) takes {needed_mib:,}"
    if free_mib >= needed_mib:
        yield Finding("memory", Level.OK, detail)
    else:
        yield Finding("memory", Level.WARNING, detail, "end other programs, or lower VERIREGIME_PROVER_WORKERS")


def pages(settings: Settings) -> Iterator[Finding]:
    folder = Path(app.web.__file__).parent / "pages"
    missing = [page for page in _PAGES if not (folder / page).is_file()]
    if missing:
        detail = f"{folder} lacks {', '.join(missing)}: the API works, the dashboard does not"
        yield Finding("pages", Level.WARNING, detail, "run `make setup` (it needs Node 20 or newer with npm)")
    else:
        yield Finding("pages", Level.OK, "the dashboard is built")


def tools(settings: Settings) -> Iterator[Finding]:
    """For the demo and for deploying contracts; a service needs neither, and an installed package has none."""
    if not settings.contracts_dir.is_dir():
        detail = "no contracts here: the demo and `contracts deploy` are run from a checkout"
        yield Finding("tools", Level.NOTE, detail)
        return
    try:
        node_tool(settings.contracts_dir, ".bin/solcjs")
        node_tool(settings.contracts_dir, "@foundry-rs/anvil-*/bin/anvil")
        if shutil.which("node") is None:
            raise ToolMissing("node is not on the PATH")
    except ToolMissing as error:
        remedy = "run `make setup` with Node 20 or newer; only the demo and `contracts` need them"
        yield Finding("tools", Level.WARNING, str(error).partition(": run")[0], remedy)
    else:
        yield Finding("tools", Level.OK, "Solidity compiler and anvil are installed")


def extras(settings: Settings) -> Iterator[Finding]:
    for extra, package, purpose in _EXTRAS:
        try:
            yield Finding(extra, Level.OK, f"{package} {version(package)}")
        except PackageNotFoundError:
            install = f"pip install 'veriregime[{extra}]'"
            yield Finding(extra, Level.NOTE, f"{package} is not installed: {purpose}", install)


def _is_ours(settings: Settings) -> bool:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        said = requests.get(f"http://{host}:{settings.port}/openapi.json", timeout=2).json()
        return bool(said["info"]["title"] == "VeriRegime")
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return False


def _available_bytes() -> int:
    """Of this machine, or of the container where that allows less."""
    available = int(psutil.virtual_memory().available)
    try:
        most, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return min(available, int(most) - int(used))
    except (OSError, ValueError):  # no such limit here
        return available
