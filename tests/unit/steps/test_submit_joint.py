"""One update with the windows of several feeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.chain.rounds import Round
from app.steps.publishing import SubmitOutcome
from app.steps.submit import SubmitStep
from app.store.database import Database
from app.types import MINUTE_MS, Prediction, Regime, Status, TransactionState

FEED, OTHER = "btc-usdt-4h", "eth-usdt-4h"


@pytest.fixture
def step(make_submit: Callable[..., SubmitStep]) -> SubmitStep:
    return make_submit()


def status(database: Database, prediction: Prediction) -> Status:
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found.status


def round_of(prediction: Prediction, minutes_before: int = 0, regime: Regime | None = None) -> Round:
    end_ms = prediction.window_end_ms - minutes_before * MINUTE_MS
    return Round(1, end_ms, regime or prediction.regime, prediction.vol_annualised)


def test_next__a_joint_update__goes_in_one_transaction_if_any_of_its_feeds_is_due(
    step: SubmitStep,
    rounds: Any,
    chain: Any,
    sqlite_database: Database,
    make_joint: Callable[[], list[Prediction]],
) -> None:
    btc, eth = make_joint()
    rounds.rounds = {FEED: round_of(btc, minutes_before=1), OTHER: round_of(eth, 1, Regime.LOW)}
    assert step.next() is SubmitOutcome.SENT
    assert [status(sqlite_database, one) for one in (btc, eth)] == [Status.SUBMITTED] * 2
    chain.mine(chain.sent[0])
    assert [step.next(), step.next()] == [SubmitOutcome.CONFIRMED, SubmitOutcome.IDLE]
    with sqlite_database.unit_of_work(write=False) as store:
        found = store.submissions.of([btc.id, eth.id]).values()
    assert [(one.state, one.tx_hash) for one in found] == [(TransactionState.CONFIRMED, chain.sent[0].tx_hash)] * 2


def test_next__a_joint_update_of_which_no_feed_is_due__waits(
    step: SubmitStep, rounds: Any, chain: Any, make_joint: Callable[[], list[Prediction]]
) -> None:
    rounds.rounds = {one.feed: round_of(one, minutes_before=1) for one in make_joint()}
    assert [step.next(), step.next(), step.next()] == [*[SubmitOutcome.NOT_DUE] * 2, SubmitOutcome.IDLE]
    assert chain.signed == []
