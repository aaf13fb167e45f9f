"""What a feed says of its market while nobody has told how things stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.clock import wall_ms
from app.settings import Settings
from app.store.database import Database
from app.web.reading import Reader
from app.wiring import ApiRole

SIMULATED = Settings(_env_file=None, venue_urls={"binance": "http://127.0.0.1:9"})  # type: ignore[call-arg, dict-item]


@pytest.mark.parametrize("said", [None, {"of": "another version"}, {"ticks": "none"}], ids=str)
def test_feed__of_venues_that_are_not_the_real_ones__is_never_called_live(
    sqlite_database: Database, make_role: Callable[..., ApiRole], said: dict[str, Any] | None
) -> None:
    if said is not None:
        with sqlite_database.unit_of_work() as store:
            store.standings.put("host:1", said, wall_ms())
    assert Reader(make_role(sqlite_database, settings=SIMULATED)).feed("btc-usdt-4h").market == "simulated"
