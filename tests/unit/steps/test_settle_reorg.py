"""Blocks are taken back: what was in them is on its way again, or in another block already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.chain.rounds import Publication, Round
from app.steps.publishing import SubmitOutcome
from app.steps.submit import SubmitStep
from app.store.database import Database
from app.types import MINUTE_MS, Prediction, Status, Submission

FEED = "btc-usdt-4h"
Attested = Callable[..., Prediction]
MakeSubmit = Callable[..., SubmitStep]


@pytest.fixture
def on_its_way(make_submit: MakeSubmit, attested: Attested) -> Prediction:
    """A prediction whose transaction was sent two seconds after its window's end."""
    made = attested()
    assert make_submit().next() is SubmitOutcome.SENT
    return made


@pytest.fixture
def step(make_submit: MakeSubmit) -> SubmitStep:
    return make_submit()


@pytest.fixture
def patient(make_submit: MakeSubmit) -> SubmitStep:
    """Three blocks settle a transaction for it."""
    return make_submit(confirmations=3)


def status(database: Database, prediction: Prediction) -> Status:
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found.status


def submission(database: Database, prediction: Prediction) -> Submission | None:
    with database.unit_of_work(write=False) as store:
        return store.submissions.of([prediction.id]).get(prediction.id)


def waiting_long(times: dict[str, float]) -> None:
    times["wall_ms"] += 45_000


def run(step: SubmitStep, count: int) -> list[SubmitOutcome]:
    return [step.next() for _ in range(count)]


@pytest.mark.parametrize("blocks", [1, 3], ids=["confirmed", "included"])
def test_reorg__its_block_is_gone__is_on_its_way_again_and_found_in_another(
    make_submit: MakeSubmit, on_its_way: Prediction, chain: Any, sqlite_database: Database, blocks: int
) -> None:
    step = make_submit(confirmations=blocks)
    chain.mine(chain.sent[0])
    step.next()
    chain.pass_blocks(1)
    chain.reorganise(2)
    assert run(step, 2) == [SubmitOutcome.REORGED, SubmitOutcome.PENDING]
    assert status(sqlite_database, on_its_way) is Status.SUBMITTED
    chain.mine(chain.sent[0])
    chain.pass_blocks(2)
    assert step.next() is SubmitOutcome.CONFIRMED
    assert (status(sqlite_database, on_its_way), len(chain.sent)) == (Status.CONFIRMED, 1)


def test_reorg__the_node_lost_it__is_handed_over_again(step: SubmitStep, on_its_way: Prediction, chain: Any) -> None:
    chain.mine(chain.sent[0])
    step.next()
    chain.reorganise(1, lost=True)
    assert run(step, 2) == [SubmitOutcome.REORGED, SubmitOutcome.PENDING]
    assert [one.tx_hash for one in chain.sent] == [chain.sent[0].tx_hash] * 2


def test_reorg__an_older_attempt_is_in_the_other_block__is_the_one_that_counts(
    patient: SubmitStep, on_its_way: Prediction, chain: Any, times: dict[str, float], sqlite_database: Database
) -> None:
    waiting_long(times)
    patient.next()
    chain.mine(chain.sent[1])
    assert patient.next() is SubmitOutcome.INCLUDED
    chain.reorganise(1)
    chain.mine(chain.sent[0])
    assert run(patient, 2) == [SubmitOutcome.REORGED, SubmitOutcome.INCLUDED]
    found = submission(sqlite_database, on_its_way)
    assert found is not None
    assert found.tx_hash == chain.sent[0].tx_hash


@pytest.mark.parametrize(
    ("succeeded", "outcome", "expected"),
    [(True, SubmitOutcome.CONFIRMED, Status.CONFIRMED), (False, SubmitOutcome.REVERTED, Status.SUBMITTED)],
)
def test_reorg__it_is_in_another_block_already__is_settled_by_what_it_did_there(
    step: SubmitStep,
    on_its_way: Prediction,
    chain: Any,
    sqlite_database: Database,
    succeeded: bool,
    outcome: SubmitOutcome,
    expected: Status,
) -> None:
    chain.mine(chain.sent[0])
    step.next()
    chain.reorganise(1)
    chain.mine(chain.sent[0], succeeded=succeeded)
    assert run(step, 2) == [SubmitOutcome.INCLUDED, outcome]
    found = submission(sqlite_database, on_its_way)
    assert found is not None
    assert (found.block_number, status(sqlite_database, on_its_way)) == (len(chain.blocks) - 1, expected)


def test_reorg__of_several_transactions__the_lowest_nonce_is_settled_first(
    make_submit: MakeSubmit, attested: Attested, chain: Any, sqlite_database: Database
) -> None:
    made, step = [], make_submit(after_ms=2 * MINUTE_MS)
    for minute in range(2):
        made.append(attested(minute))
        step.next()
        chain.mine(chain.sent[-1])
        assert step.next() is SubmitOutcome.CONFIRMED
    chain.reorganise(2)
    assert run(step, 3) == [SubmitOutcome.REORGED, SubmitOutcome.REORGED, SubmitOutcome.PENDING]
    for signed in chain.sent[:2]:
        chain.mine(signed)
    assert run(step, 3) == [SubmitOutcome.CONFIRMED, SubmitOutcome.CONFIRMED, SubmitOutcome.IDLE]
    assert [status(sqlite_database, one) for one in made] == [Status.CONFIRMED] * 2


def test_reorg__of_the_last_block_only__leaves_what_is_below_it_settled(
    make_submit: MakeSubmit, attested: Attested, chain: Any, sqlite_database: Database
) -> None:
    made, step = [], make_submit(after_ms=2 * MINUTE_MS)
    for minute in range(2):
        made.append(attested(minute))
        step.next()
        chain.mine(chain.sent[-1])
        step.next()
    chain.reorganise(1)
    assert run(step, 2) == [SubmitOutcome.REORGED, SubmitOutcome.PENDING]
    assert [status(sqlite_database, one) for one in made] == [Status.CONFIRMED, Status.SUBMITTED]


def test_reorg__what_was_superseded_before__is_decided_about_anew(
    make_submit: MakeSubmit, attested: Attested, rounds: Any, chain: Any, sqlite_database: Database
) -> None:
    step = make_submit(after_ms=2 * MINUTE_MS)
    attested(0)
    step.next()
    chain.mine(chain.sent[0])
    step.next()
    newer = attested(1)
    rounds.rounds[FEED] = Round(1, newer.window_end_ms + MINUTE_MS, newer.regime, newer.vol_annualised)
    assert run(step, 2) == [SubmitOutcome.SUPERSEDED, SubmitOutcome.IDLE]
    chain.reorganise(1)
    rounds.rounds.clear()
    assert step.next() is SubmitOutcome.REORGED
    chain.mine(chain.sent[0])
    assert run(step, 2) == [SubmitOutcome.CONFIRMED, SubmitOutcome.SENT]
    assert status(sqlite_database, newer) is Status.SUBMITTED


def test_reorg__deeper_than_anything_is_followed__is_not_looked_for(
    step: SubmitStep, on_its_way: Prediction, chain: Any, make_submit: MakeSubmit
) -> None:
    chain.mine(chain.sent[0])
    step.next()
    chain.pass_blocks(64)
    step = make_submit()
    step.next()
    before = chain.calls.count("block_hash")
    chain.pass_blocks(1)
    make_submit().next()
    assert (before > 0, chain.calls.count("block_hash") - before) == (True, 0)


def test_reorg__what_others_published_is_gone__is_published_by_us(
    step: SubmitStep, attested: Attested, rounds: Any, chain: Any, sqlite_database: Database
) -> None:
    made = attested()
    theirs = chain.sign("0xoracle", b"", 0, 0, chain.fees())
    chain.mine(theirs)
    rounds.rounds[FEED] = Round(1, made.window_end_ms, made.regime, made.vol_annualised)
    rounds.published[made.window_end_ms] = Publication(theirs.tx_hash, len(chain.blocks) - 1)
    assert run(step, 2) == [SubmitOutcome.PUBLISHED_BY_OTHERS, SubmitOutcome.IDLE]
    chain.reorganise(1, lost=True)
    rounds.rounds.clear()
    assert run(step, 2) == [SubmitOutcome.REORGED, SubmitOutcome.SENT]
    assert status(sqlite_database, made) is Status.SUBMITTED
