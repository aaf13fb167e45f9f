"""Roles of the service in applications of their own, on one database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.clock import Clock
from app.demo import MarketOptions, running_market, venue_urls
from app.errors import StoreInUse
from app.settings import Settings
from app.steps.prove import ProveOutcome
from app.steps.standing import EVERY_ROLE, Role, TickOutcome
from app.types import Status
from app.wiring import application

FEED = "btc-usdt-4h"
PIPELINE, PROVER = frozenset({Role.PIPELINE}), frozenset({Role.PROVER})


@pytest.fixture(scope="module")
def market() -> Iterator[tuple[str, Clock]]:
    with running_market(MarketOptions()) as found:
        yield found


@pytest.fixture
def placed(scratch_settings: Settings, market: tuple[str, Clock]) -> Settings:
    return scratch_settings.model_copy(update={"venue_urls": venue_urls(market[0], ("binance",))})


def test_a_second_copy__on_the_same_sqlite_file__is_refused_with_who_has_it(placed: Settings) -> None:
    with (
        application(placed, at_work=True),
        pytest.raises(StoreInUse, match=r"is used by the .* of process \d+ .*already: stop it, or use PostgreSQL"),
        application(placed, at_work=True),
    ):
        pass
    with application(placed, at_work=True):  # it is free again
        pass


def test_roles__of_which_each_is_there_once__share_an_sqlite_file(placed: Settings, market: tuple[str, Clock]) -> None:
    clock = market[1]
    with (
        application(placed, roles=PIPELINE, at_work=True, clock=clock) as ticks,
        application(placed, roles=PROVER, at_work=True, clock=clock) as proves,
    ):
        window_end_ms = clock.last_minute_ms()
        assert ticks.pipeline.tick(FEED, window_end_ms) is TickOutcome.PREDICTED
        assert proves.pipeline.prove_next() is ProveOutcome.PROVED
        with ticks.database.unit_of_work(write=False) as store:
            found = store.predictions.latest(FEED)
    assert found is not None
    assert (found.window_end_ms, found.status) == (window_end_ms, Status.PROVED)


def test_a_prover_alone__asks_no_venue_and_has_no_account(placed: Settings) -> None:
    with application(placed, roles=PROVER) as proves:
        standing = proves.pipeline.standing()
        assert (standing.venues, standing.sender, proves.pipeline.target) == ({}, None, None)
        assert (standing.roles, standing.prover_slots) == ((Role.PROVER,), 1)


def test_the_whole_service__is_every_role(placed: Settings) -> None:
    with application(placed) as app:
        assert app.roles == EVERY_ROLE
