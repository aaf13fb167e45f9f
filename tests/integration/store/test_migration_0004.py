"""The fourth schema, reached from a filled database of the third, and left again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from app.inference.network import forecast_from
from app.store.database import Database
from app.types import MINUTE_MS, Candles, Prediction, Proof, Sources, Status, VenueRest

BTC = "BTC/USDT"
PRICES = ("open", "high", "low", "close", "volume")


@pytest.fixture
def third_schema(at_revision: Callable[[str], Database]) -> Database:
    return at_revision("0003")


@pytest.fixture
def filled(
    third_schema: Database,
    insert: Callable[..., None],
    make_prediction: Callable[..., Prediction],
    make_candles: Callable[..., Candles],
    former_row: Callable[[Prediction], dict[str, Any]],
) -> tuple[Candles, list[Prediction]]:
    """Candles with a gap at one venue, and predictions that rows of other tables refer to, as the third wrote them."""
    candles = Candles.from_rows([row for place, row in enumerate(make_candles(6).rows()) if place != 2])
    made = [
        make_prediction(),
        make_prediction(feed="eth-usdt-4h", sources=Sources({"kraken": "ETH/USDT"}, {}, 1)),
    ]
    rows = [
        {"venue": "binance", "symbol": BTC, "open_time_ms": opened, **dict(zip(PRICES, values, strict=True))}
        for opened, *values in candles.rows()
    ]
    insert("candles", *rows)
    insert("predictions", *map(former_row, made))
    job = {"state": "queued", "attempts": 0, "wait_until_ms": 0}
    insert("proof_jobs", *({"prediction_id": one.id, "window_end_ms": one.window_end_ms, **job} for one in made))
    return candles, made


def test_upgrade__of_a_filled_database__keeps_candles_as_the_first_write_and_what_they_cover(
    third_schema: Database, filled: tuple[Candles, list[Prediction]]
) -> None:
    candles, _ = filled
    third_schema.upgrade()
    with third_schema.unit_of_work() as store:
        assert store.candles.seq() == 1
        assert store.candles.between("binance", BTC, 0, 2**62, as_of=1).digest() == candles.digest()
        first, last = int(candles.open_time_ms[0]), int(candles.open_time_ms[-1])
        assert store.candles.covered("binance", BTC) == (first, last + MINUTE_MS)
        store.candles.add("binance", BTC, replace(candles, close=candles.close * 2))
        assert store.candles.revisions("binance", BTC, 0, 2**62) == len(candles)
        assert store.candles.seq() == 2


def test_upgrade__of_a_filled_database__gives_predictions_the_markets_of_their_feed(
    third_schema: Database, filled: tuple[Candles, list[Prediction]]
) -> None:
    _, made = filled
    third_schema.upgrade()
    with third_schema.unit_of_work(write=False) as store:
        assert [store.predictions.get(one.id) for one in made] == [replace(one, quorum=1) for one in made]
        assert store.jobs.waiting() == 2


def test_downgrade__of_an_upgraded_database__is_as_before(
    third_schema: Database,
    everything: Callable[[], dict[str, list[str]]],
    filled: tuple[Candles, list[Prediction]],
) -> None:
    before = everything()
    third_schema.upgrade("0004")
    third_schema.downgrade("0003")
    assert everything() == before


def test_downgrade__with_revisions_and_venues_left_out__keeps_what_was_shown_first(
    database: Database,
    connection: sa.Connection,
    make_candles: Callable[..., Candles],
    predict: Callable[..., Prediction],
    make_proof: Callable[..., Proof],
) -> None:
    candles = make_candles(3)
    sources = Sources({"kraken": "BTC/USD", "okx": BTC}, {"binance": "its clock is 9 s behind ours"}, as_of=7)
    made = predict(sources=sources, quorum=2)
    with database.unit_of_work() as store:
        job = store.jobs.lease("me", 0, 1_000, 5)
        assert job is not None
        store.jobs.finish(job.prediction_id, "me", make_proof(), forecast_from((0, 1, -1)), 77)
        store.candles.add("binance", BTC, candles)
        store.candles.add("binance", BTC, replace(candles, close=candles.close * 2))
        store.venues.set_rest(VenueRest("okx", 1, 5, "away", 4))
    database.downgrade("0003")
    kept = connection.execute(sa.text("SELECT close FROM candles ORDER BY open_time_ms")).scalars().all()
    assert kept == candles.close.tolist()
    database.upgrade()
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(made.id)
        assert store.venues.all() == {}
    assert found is not None
    assert (found.status, found.quorum) == (Status.PROVED, 1)
    assert found.sources == Sources({"kraken": BTC, "okx": BTC}, {}, as_of=1)
