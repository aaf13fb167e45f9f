"""What is published and when: the ladder of decisions on a real store, with a small chain."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.chain.rounds import Publication, Round
from app.chain.sender import Fees
from app.errors import (
    BalanceTooLow,
    ChainError,
    ChainUnavailable,
    FeesTooHigh,
    Misconfigured,
    SimulationReverted,
    StoreUnavailable,
)
from app.metrics import Metrics
from app.steps.publishing import OracleTarget, SubmitOutcome
from app.steps.submit import SubmitStep
from app.steps.update import ready_update
from app.store.database import Database
from app.types import MINUTE_MS, Prediction, Regime, SignedTransaction, Status

FEED, OTHER = "btc-usdt-4h", "eth-usdt-4h"
THEIRS = "0x" + "77" * 32
Attested = Callable[..., Prediction]
MakeSubmit = Callable[..., SubmitStep]


@pytest.fixture
def step(make_submit: MakeSubmit) -> SubmitStep:
    return make_submit()


def status(database: Database, prediction: Prediction) -> Status:
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found.status


def stored(database: Database, chain: Any) -> list[SignedTransaction]:
    with database.unit_of_work(write=False) as store:
        return [one.signed for one in store.submissions.sent(31337, chain.address)]


def round_of(prediction: Prediction, minutes_before: int = 0, regime: Regime | None = None) -> Round:
    end_ms = prediction.window_end_ms - minutes_before * MINUTE_MS
    return Round(1, end_ms, regime or prediction.regime, prediction.vol_annualised)


def counted(metrics: Metrics, outcome: SubmitOutcome) -> float | None:
    return metrics.registry.get_sample_value("veriregime_submissions_total", {"outcome": outcome})


def test_next__no_chain__says_so(make_submit: MakeSubmit, attested: Attested) -> None:
    attested()
    assert make_submit(target=None).next() is SubmitOutcome.NO_CHAIN


def test_next__no_account__leaves_sending_to_others(
    make_submit: MakeSubmit, attested: Attested, target: OracleTarget, chain: Any
) -> None:
    attested()
    assert make_submit(target=replace(target, sender=None)).next() is SubmitOutcome.NO_ACCOUNT
    assert chain.sent == []


def test_next__no_account__still_notices_what_others_publish(
    make_submit: MakeSubmit, attested: Attested, target: OracleTarget, rounds: Any, sqlite_database: Database
) -> None:
    made = attested()
    rounds.rounds[FEED] = round_of(made)
    rounds.published[made.window_end_ms] = Publication(THEIRS, 90)
    assert make_submit(target=replace(target, sender=None)).next() is SubmitOutcome.PUBLISHED_BY_OTHERS
    assert status(sqlite_database, made) is Status.CONFIRMED


@pytest.mark.parametrize("signers", [0, 1])
def test_next__too_few_signatures__is_idle(step: SubmitStep, attested: Attested, chain: Any, signers: int) -> None:
    attested(signers=["0x" + "01" * 20][:signers])
    assert (step.next(), chain.signed) == (SubmitOutcome.IDLE, [])


def test_next__signed_by_somebody_who_was_removed_since__is_idle(
    step: SubmitStep, attested: Attested, chain: Any, oracle_reader: Any
) -> None:
    attested()
    oracle_reader.signers = oracle_reader.signers[1:]
    assert (step.next(), chain.signed) == (SubmitOutcome.IDLE, [])


def test_next__signed_and_due__sends_its_update_to_the_oracle(
    step: SubmitStep, attested: Attested, chain: Any, rounds: Any, target: OracleTarget, sqlite_database: Database
) -> None:
    made = attested()
    assert step.next() is SubmitOutcome.SENT
    with sqlite_database.unit_of_work(write=False) as store:
        update = ready_update(store, made, target.oracle, target.reader.panel())
    assert update is not None
    assert rounds.simulated == [(update.calldata, update.gas, chain.address)]
    (sent,) = chain.sent
    assert (sent.contract, sent.raw.partition(b":")[2]) == (target.oracle.contract, update.calldata)
    assert status(sqlite_database, made) is Status.SUBMITTED
    assert step.last is not None
    assert step.last.detail == "btc-usdt-4h at 2025-09-15T12:00:00Z: the feed's first round"


def test_expects__nothing_seen_yet__is_a_round(step: SubmitStep, attested: Attested) -> None:
    assert step.expects(attested())


def test_expects__after_a_round_was_sent__is_what_differs_from_it(step: SubmitStep, attested: Attested) -> None:
    made = attested()
    assert step.next() is SubmitOutcome.SENT
    later = replace(made, window_end_ms=made.window_end_ms + MINUTE_MS)
    assert not step.expects(later)
    assert step.expects(replace(later, vol_annualised=1.2 * made.vol_annualised))


def test_next__the_ladder__is_in_its_order(step: SubmitStep, attested: Attested, chain: Any, rounds: Any) -> None:
    attested()
    rounds.simulate = lambda *_: chain.calls.append("simulate")
    step.next()
    assert chain.calls[-5:] == ["simulate", "fees", "require_funds", "sign", "send"]


def test_next__what_is_sent__was_stored_before(
    step: SubmitStep, attested: Attested, chain: Any, sqlite_database: Database
) -> None:
    made = attested()
    seen: list[tuple[list[SignedTransaction], Status]] = []
    chain.before_send = lambda: seen.append((stored(sqlite_database, chain), status(sqlite_database, made)))
    step.next()
    assert seen == [(chain.sent, Status.SUBMITTED)]


def test_next__killed_before_sending__sends_the_stored_bytes_after_a_restart(
    make_submit: MakeSubmit, attested: Attested, chain: Any
) -> None:
    attested()
    chain.troubles["send"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        make_submit().next()
    chain.troubles.clear()
    assert make_submit().next() is SubmitOutcome.PENDING
    assert (chain.sent, len(chain.signed)) == (chain.signed, 1)


def test_next__another_process_was_first__sends_nothing(
    step: SubmitStep, attested: Attested, chain: Any, sqlite_database: Database
) -> None:
    made, sign = attested(), chain.sign

    def sign_too_late(*terms: Any) -> SignedTransaction:
        signed: SignedTransaction = sign(*terms)
        with sqlite_database.unit_of_work() as store:
            assert store.submissions.record([made.id], replace(signed, tx_hash=THEIRS, sender="0x" + "bb" * 20), 1)
        return signed

    chain.sign = sign_too_late
    assert (step.next(), chain.sent) == (SubmitOutcome.TAKEN, [])


def test_next__several_feeds__are_published_one_after_another_newest_window_first(
    make_submit: MakeSubmit, attested: Attested, chain: Any, sqlite_database: Database
) -> None:
    older, newer = attested(0, feed=OTHER), attested(1)
    step = make_submit(after_ms=2 * MINUTE_MS, confirmations=3)
    assert (step.next(), status(sqlite_database, newer)) == (SubmitOutcome.SENT, Status.SUBMITTED)
    chain.mine(chain.sent[0])
    assert [step.next(), step.next()] == [SubmitOutcome.INCLUDED, SubmitOutcome.SENT]
    assert status(sqlite_database, older) is Status.SUBMITTED
    assert [one.nonce for one in chain.sent] == [5, 6]


def test_next__of_one_feed__only_the_newest_signed_window_is_sent(
    make_submit: MakeSubmit, attested: Attested, sqlite_database: Database
) -> None:
    older, newer = attested(0), attested(1)
    step = make_submit(after_ms=2 * MINUTE_MS)
    step.next()
    assert (status(sqlite_database, older), status(sqlite_database, newer)) == (Status.PROVED, Status.SUBMITTED)


@pytest.mark.parametrize(
    ("after_ms", "outcome"),
    [(15 * MINUTE_MS - 15_001, SubmitOutcome.SENT), (15 * MINUTE_MS - 15_000, SubmitOutcome.IDLE)],
)
def test_next__about_to_be_too_old_for_the_oracle__is_no_longer_sent(
    make_submit: MakeSubmit, attested: Attested, after_ms: int, outcome: SubmitOutcome
) -> None:
    attested()
    assert make_submit(after_ms).next() is outcome


def test_next__nothing_new_in_it__is_not_due_said_once(
    step: SubmitStep, attested: Attested, rounds: Any, chain: Any
) -> None:
    rounds.rounds[FEED] = round_of(attested(), minutes_before=1)
    assert [step.next(), step.next()] == [SubmitOutcome.NOT_DUE, SubmitOutcome.IDLE]
    assert (rounds.simulated, chain.signed) == ([], [])


@pytest.mark.parametrize(
    ("minutes_before", "regime", "reason"),
    [(1, Regime.LOW, "the regime is high after low"), (60, None, "the newest round is 3600 s older")],
)
def test_next__policy_asks_for_it__is_sent_with_the_reason(
    step: SubmitStep, attested: Attested, rounds: Any, minutes_before: int, regime: Regime | None, reason: str
) -> None:
    rounds.rounds[FEED] = round_of(attested(), minutes_before, regime)
    assert step.next() is SubmitOutcome.SENT
    assert step.last is not None
    assert step.last.detail.endswith(reason)


def test_next__the_oracle_has_a_later_window__is_superseded(
    step: SubmitStep, attested: Attested, rounds: Any, sqlite_database: Database
) -> None:
    made = attested()
    rounds.rounds[FEED] = round_of(made, minutes_before=-1)
    assert [step.next(), step.next()] == [SubmitOutcome.SUPERSEDED, SubmitOutcome.IDLE]
    assert status(sqlite_database, made) is Status.PROVED


def test_next__somebody_else_published_it__is_confirmed_as_theirs(
    step: SubmitStep, attested: Attested, rounds: Any, chain: Any, sqlite_database: Database
) -> None:
    made = attested()
    rounds.rounds[FEED] = round_of(made)
    rounds.published[made.window_end_ms] = Publication(THEIRS, 90)
    assert step.next() is SubmitOutcome.PUBLISHED_BY_OTHERS
    with sqlite_database.unit_of_work(write=False) as store:
        found = store.submissions.of([made.id])[made.id]
    assert (found.tx_hash, found.ours, found.block_number) == (THEIRS, False, 90)
    assert (status(sqlite_database, made), chain.sent) == (Status.CONFIRMED, [])


def test_next__its_publication_does_not_show_yet__is_looked_for_again_later(
    step: SubmitStep, attested: Attested, rounds: Any, times: dict[str, float]
) -> None:
    made = attested()
    rounds.rounds[FEED] = round_of(made)
    assert [step.next(), step.next()] == [SubmitOutcome.SUPERSEDED, SubmitOutcome.IDLE]
    rounds.published[made.window_end_ms] = Publication(THEIRS, 90)
    times["monotonic_s"] += 15
    assert step.next() is SubmitOutcome.PUBLISHED_BY_OTHERS


@pytest.mark.parametrize(
    ("place", "error", "outcome"),
    [
        ("simulate", SimulationReverted("WindowNotIncreasing"), SubmitOutcome.WOULD_REVERT),
        ("fees", FeesTooHigh("too dear"), SubmitOutcome.FEES_TOO_HIGH),
        ("require_funds", BalanceTooLow("poor"), SubmitOutcome.BALANCE_TOO_LOW),
    ],
)
def test_next__refused_on_the_way__stores_nothing_says_why_and_tries_again_later(
    step: SubmitStep,
    attested: Attested,
    chain: Any,
    rounds: Any,
    metrics: Metrics,
    sqlite_database: Database,
    times: dict[str, float],
    place: str,
    error: Exception,
    outcome: SubmitOutcome,
) -> None:
    made = attested()
    rounds.refuses = error if place == "simulate" else None
    chain.troubles = {} if place == "simulate" else {place: error}
    assert [step.next(), step.next()] == [outcome, SubmitOutcome.IDLE]
    assert (step.last.outcome, step.last.detail) == (outcome, str(error)) if step.last else False
    assert (chain.signed, status(sqlite_database, made), counted(metrics, outcome)) == ([], Status.PROVED, 1)
    rounds.refuses, chain.troubles = None, {}
    times["monotonic_s"] += 15
    assert step.next() is SubmitOutcome.SENT


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ChainUnavailable("away"), SubmitOutcome.CHAIN_UNAVAILABLE),
        (ChainError("refused"), SubmitOutcome.CHAIN_UNAVAILABLE),
        (Misconfigured("of chain 1"), SubmitOutcome.WRONG_CHAIN),
    ],
)
def test_next__no_answer_on_the_way__stores_nothing_and_sends_as_soon_as_there_is_one(
    step: SubmitStep,
    attested: Attested,
    chain: Any,
    sqlite_database: Database,
    error: Exception,
    outcome: SubmitOutcome,
) -> None:
    made = attested()
    chain.troubles = {"fees": error}
    assert [step.next(), step.next()] == [outcome, outcome]
    assert (step.last.outcome, step.last.detail) == (outcome, str(error)) if step.last else False
    assert (chain.signed, status(sqlite_database, made)) == ([], Status.PROVED)
    chain.troubles = {}
    assert step.next() is SubmitOutcome.SENT


def test_next__refused_again_for_the_same_reason__is_logged_once(
    step: SubmitStep, attested: Attested, rounds: Any, times: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    attested()
    for reason in ("paused", "paused", "too old"):
        rounds.refuses = SimulationReverted(reason)
        step.next()
        times["monotonic_s"] += 15
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == ["would-revert: paused", "would-revert: too old"]


def test_next__fees_too_high_with_another_number_each_time__is_logged_once(
    step: SubmitStep, attested: Attested, chain: Any, times: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    attested()
    for gwei in (101, 102, 103):
        chain.troubles["fees"] = FeesTooHigh(f"the chain asks for {gwei} gwei")
        step.next()
        times["monotonic_s"] += 15
    assert [one.getMessage() for one in caplog.records] == ["fees-too-high: the chain asks for 101 gwei"]
    assert step.last is not None
    assert step.last.detail == "the chain asks for 103 gwei"


def test_next__one_feed_refused__the_other_is_sent_next(
    make_submit: MakeSubmit, attested: Attested, rounds: Any, chain: Any, sqlite_database: Database
) -> None:
    refused, fine = attested(1), attested(0, feed=OTHER)
    step = make_submit(after_ms=2 * MINUTE_MS)
    rounds.refuses = SimulationReverted("no")
    assert step.next() is SubmitOutcome.WOULD_REVERT
    rounds.refuses = None
    assert step.next() is SubmitOutcome.SENT
    assert (status(sqlite_database, refused), status(sqlite_database, fine)) == (Status.PROVED, Status.SUBMITTED)


def test_next__the_node_does_not_take_it__keeps_what_was_stored(
    step: SubmitStep, attested: Attested, chain: Any, sqlite_database: Database
) -> None:
    attested()
    chain.troubles["send"] = ChainUnavailable("away")
    assert step.next() is SubmitOutcome.CHAIN_UNAVAILABLE
    assert stored(sqlite_database, chain) == chain.signed


def test_next__dry_run__does_all_but_sign_store_and_send_and_says_it_once(
    make_submit: MakeSubmit,
    attested: Attested,
    chain: Any,
    rounds: Any,
    sqlite_database: Database,
    times: dict[str, float],
) -> None:
    made = attested()
    step = make_submit(dry_run=True)
    assert step.next() is SubmitOutcome.DRY_RUN
    times["monotonic_s"] += 60
    assert step.next() is SubmitOutcome.IDLE
    assert (len(rounds.simulated), chain.signed, chain.sent) == (1, [], [])
    assert status(sqlite_database, made) is Status.PROVED
    assert {"fees", "require_funds"} <= set(chain.calls)


def test_next__nonce__is_the_next_of_chain_and_pool(step: SubmitStep, attested: Attested, chain: Any) -> None:
    attested()
    chain.pool = [chain.sign("0x", b"", 0, 5, chain.fees())]
    step.next()
    assert chain.sent[0].nonce == 6


def test_next__nonce__is_after_what_is_stored_in_a_block_that_the_node_does_not_know_yet(
    make_submit: MakeSubmit, attested: Attested, chain: Any
) -> None:
    attested(0)
    step = make_submit(after_ms=2 * MINUTE_MS, confirmations=10)
    step.next()
    chain.mine(chain.sent[0])
    step.next()
    attested(1)
    chain.nonces = lambda: (5, 5)  # another endpoint, some blocks behind
    assert step.next() is SubmitOutcome.SENT
    assert [one.nonce for one in chain.sent] == [5, 6]


@pytest.mark.parametrize(("balance", "warns"), [(50, False), (49, True)])
def test_next__balance__is_shown_and_warned_of_when_it_pays_for_too_few_updates(
    step: SubmitStep,
    attested: Attested,
    chain: Any,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
    balance: int,
    warns: bool,
) -> None:
    attested()
    chain.balance = balance * 800_000 * 20
    step.next()
    warned = [one.getMessage() for one in caplog.records]
    told = f"the account {chain.address} can pay for 49 more updates at most: send it some"
    assert warned == ([told] if warns else [])
    account = {"account": chain.address}
    assert metrics.registry.get_sample_value("veriregime_submitter_balance_ether", account) == chain.balance / 1e18
    affordable = metrics.registry.get_sample_value("veriregime_submitter_affordable_updates", account)
    assert affordable is not None
    assert (affordable < 50) is warns


def test_next__transactions_that_cost_nothing__are_sent(step: SubmitStep, attested: Attested, chain: Any) -> None:
    attested()
    chain.fees = lambda: Fees(0, 0)
    assert step.next() is SubmitOutcome.SENT


def test_next__database_away__is_not_taken_for_a_wrong_chain(
    step: SubmitStep, attested: Attested, monkeypatch: pytest.MonkeyPatch, metrics: Metrics
) -> None:
    attested()

    def away(**_: object) -> None:
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(step._database, "unit_of_work", away)
    monkeypatch.setattr(step._settlement, "next", lambda *_: None)
    with pytest.raises(StoreUnavailable):
        step.next()
    assert counted(metrics, SubmitOutcome.WRONG_CHAIN) == 0


def test_next__chain_away__is_said_even_when_nothing_is_to_be_sent(step: SubmitStep, chain: Any) -> None:
    chain.troubles["head"] = ChainUnavailable("away")
    assert step.next() is SubmitOutcome.CHAIN_UNAVAILABLE


def test_next__idle_and_pending__leave_the_last_thing_that_happened_to_be_told(
    step: SubmitStep, attested: Attested, metrics: Metrics
) -> None:
    step.next()
    assert step.last is None
    attested()
    assert [step.next(), step.next()] == [SubmitOutcome.SENT, SubmitOutcome.PENDING]
    assert step.last is not None
    assert step.last.outcome is SubmitOutcome.SENT
    assert [counted(metrics, one) for one in (SubmitOutcome.IDLE, SubmitOutcome.SENT, SubmitOutcome.PENDING)] == [1] * 3
