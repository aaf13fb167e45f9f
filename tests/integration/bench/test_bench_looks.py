"""What the benches of a running system see of it: processes by role, a database by kind of row, answers by status."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from app.bench.looks import KINDS, bytes_by_kind, filled, held_by_role, lateness
from app.bench.served import bare
from app.bench.visitors import Visit, visited
from app.types import Prediction
from app.wiring import Application


@pytest.fixture(scope="module")
def database(app: Application, confirmed: Prediction) -> Path:
    assert confirmed
    return Path(app.settings.store_url().removeprefix("sqlite:///"))


def test_held__of_the_demo__has_every_role_with_its_processes(app: Application, confirmed: Prediction) -> None:
    assert confirmed
    held = held_by_role(os.getpid())
    assert {"service", "provers", "attesters", "market", "chain"} <= set(held)
    assert (held["service"].processes, held["attesters"].processes) == (1, 2)
    assert all(one.bytes > 2**20 and one.files and one.threads for one in held.values())


def test_filled__counts_rows_of_every_kind(database: Path) -> None:
    found = filled(database)
    rows = found.rows
    assert rows["prediction"] >= 1
    assert rows["signature"] >= 2
    assert (rows["transaction"], rows["round"]) >= (1, 1)
    assert rows["candle"] > 2 * 10_080
    assert 0 < found.used_bytes <= found.file_bytes + 2**20


def test_bytes__of_the_kinds__are_nearly_the_whole_database(database: Path) -> None:
    found = bytes_by_kind(database)
    assert set(found) == set(KINDS)
    assert 0.7 < sum(found.values()) / filled(database).used_bytes <= 1


def test_lateness__of_a_proved_window__is_from_its_end(database: Path, confirmed: Prediction) -> None:
    stored = next(row for row in lateness(database, 0) if row[:2] == (confirmed.feed, confirmed.window_end_ms))
    assert 0 <= stored[2] <= (stored[3] or 0)


def test_visitors__count_what_was_refused_and_go_on(tmp_path: Path) -> None:
    with bare({"there": b"{}"}, tmp_path) as server:
        visit = Visit(server.host, server.port, ["/there", "/not"], 2, 0.4, paced=["/there"], paced_per_second=10)
        found = asyncio.run(visited(visit))
    assert set(found["statuses"]) == {"200", "404"}
    assert found["answers"] == sum(found["statuses"].values()) > 20
    assert found["not_200"] == {"/not 404": found["statuses"]["404"]}
    assert 0 < found["took_ms"]["median"] <= found["took_ms"]["p99"]
