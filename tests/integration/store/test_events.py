"""What happens to a prediction is told once, with what its rows say, in the order of commits and without gaps."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.inference.network import forecast_from
from app.store.database import Database
from app.store.outcomes import Origin, Outcome
from app.store.repository import Store
from app.store.retention import prune_events
from app.types import (
    MINUTE_MS,
    MINUTES_PER_YEAR,
    Attestation,
    AttestationOutcome,
    AttesterSignature,
    Event,
    EventKind,
    OracleAt,
    Prediction,
    PredictionId,
    Proof,
    Receipt,
    SignedTransaction,
    iso,
)

Predict = Callable[..., Prediction]
Said = list[tuple[str, dict[str, Any]]]
ORACLE = OracleAt(31337, "0x" + "11" * 20)
SENDER = "0x" + "aa" * 20
ATTESTER = "https://user:token@one.example/attest"


def signed(number: int, nonce: int = 0, contract: str = ORACLE.contract) -> SignedTransaction:
    return SignedTransaction(31337, contract, SENDER, nonce, f"0x{number:064x}", b"raw", 20, 2)


def receipt(number: int, *, succeeded: bool = True) -> Receipt:
    return Receipt(succeeded, 12, "0x" + "12" * 32, 500_000, signed(number).tx_hash)


@pytest.fixture
def told(database: Database) -> Callable[..., Said]:
    """What is told of ``change``, made in one transaction."""

    def events_of(change: Callable[[Store], object]) -> Said:
        with database.unit_of_work(write=False) as store:
            before = store.events.last()
        with database.unit_of_work() as store:
            change(store)
        with database.unit_of_work(write=False) as store:
            found = store.events.after(before, 100)
            assert [one.seq for one in found] == list(range(before + 1, store.events.last() + 1))
        return [(one.kind, json.loads(one.data)) for one in found]

    return events_of


@pytest.fixture
def prove(database: Database, make_proof: Callable[..., Proof]) -> Callable[[], None]:
    """Prove the newest window that waits."""

    def finish() -> None:
        with database.unit_of_work() as store:
            job = store.jobs.lease("me", 0, 1_000, 5)
            assert job is not None
            assert store.jobs.finish(job.prediction_id, "me", make_proof(), forecast_from((1.0, 0.0, -2.0)), 77)

    return finish


@pytest.fixture
def proved(predict: Predict, prove: Callable[[], None]) -> Prediction:
    made = predict()
    prove()
    return made


@pytest.fixture
def sent(database: Database, proved: Prediction) -> Prediction:
    """On its way in transaction 1."""
    with database.unit_of_work() as store:
        assert store.submissions.record([proved.id], signed(1), 9)
    return proved


@pytest.fixture
def included(database: Database, sent: Prediction) -> Prediction:
    with database.unit_of_work() as store:
        store.submissions.include(signed(1), receipt(1))
    return sent


def short(prediction: Prediction) -> dict[str, Any]:
    return {"feed": prediction.feed, "id": prediction.id, "window_end": iso(prediction.window_end_ms)}


def on_chain(prediction: Prediction, **facts: Any) -> dict[str, Any]:
    place = {"chain_id": 31337, "contract": ORACLE.contract, "tx_hash": signed(1).tx_hash, "ours": True}
    return short(prediction) | place | {"block_number": None, "gas_used": None} | facts


IN_BLOCK = {"block_number": 12, "gas_used": 500_000}


def test_add__is_a_prediction_with_what_it_says(told: Callable[..., Said], make_prediction: Predict) -> None:
    made = make_prediction()
    says = {"regime": "high", "p_high": made.p_high, "vol_annualised": made.vol_annualised}
    says |= {"model_id": made.model_id, "status": "predicted"}
    assert told(lambda store: store.predictions.add(made)) == [("prediction", short(made) | says)]
    assert told(lambda store: store.predictions.add(made)) == []


def test_finish__is_a_proof_with_what_the_circuit_says_and_its_seconds(
    told: Callable[..., Said], predict: Predict, make_proof: Callable[..., Proof]
) -> None:
    made, proof, says = predict(), make_proof(), forecast_from((1.0, 0.0, -2.0))

    def finish(store: Store) -> None:
        assert store.jobs.lease("me", 0, 1_000, 5)
        assert not store.jobs.finish(made.id, "you", proof, says, 77)
        assert store.jobs.finish(made.id, "me", proof, says, 77)

    assert told(finish) == [
        (
            "proof",
            short(made)
            | {"regime": says.regime, "p_high": says.p_high, "vol_annualised": says.vol_annualised}
            | {"model_id": made.model_id, "status": "proved", "vk_hash": proof.vk_hash}
            | {"witness_seconds": 0.0125, "prove_seconds": 0.25, "verify_seconds": 0.0625}
            | {"commitment": "0x" + proof.commitment.hex()},
        )
    ]


def give_up(store: Store, one: PredictionId) -> None:
    assert store.jobs.lease("me", 0, 1_000, 5)
    assert store.jobs.give_up(one, "me", "it disagrees")


def lapse(store: Store, one: PredictionId) -> None:
    assert store.jobs.lease("me", 0, 1_000, 1)
    assert store.jobs.lease("you", 2_000, 1_000, 1) is None


def shed(store: Store, one: PredictionId) -> None:
    assert store.jobs.shed(0, "too many wait", ["ab" * 32], "me", 5) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (give_up, "it disagrees"),
        (lapse, "given up after 1 attempts: the prover never came back"),
        (shed, "too many wait"),
    ],
)
def test_prediction_that_is_given_up__is_a_failure_with_its_reason(
    told: Callable[..., Said], predict: Predict, change: Callable[[Store, PredictionId], None], reason: str
) -> None:
    made = predict()
    says = {"model_id": made.model_id, "status": "failed", "reason": reason}
    assert told(lambda store: change(store, made.id)) == [("failure", short(made) | says)]


def test_lease_retry_and_free__are_told_to_nobody(told: Callable[..., Said], predict: Predict) -> None:
    made = predict()
    assert told(lambda store: store.jobs.lease("me", 0, 1_000, 5)) == []
    assert told(lambda store: store.jobs.retry(made.id, "me", "again", 5)) == []
    assert told(lambda store: store.jobs.lease("me", 5_000, 1_000, 5)) == []
    assert told(lambda store: store.jobs.free("me")) == []


def answer(prediction: Prediction, outcome: AttestationOutcome, attester: str = ATTESTER) -> Attestation:
    signature = AttesterSignature("0x" + "33" * 20, b"\1" * 32, b"\2" * 32)
    return Attestation(
        prediction.id, attester, outcome, signature if outcome is AttestationOutcome.SIGNED else None, "why", 5
    )


def test_answers_of_attesters__are_told_by_host_and_without_what_is_secret(
    told: Callable[..., Said], proved: Prediction
) -> None:
    answers = [
        answer(proved, AttestationOutcome.SIGNED),
        answer(proved, AttestationOutcome.REFUSED, "own"),
    ]
    assert told(lambda store: store.attestations.record(answers, ORACLE)) == [
        ("attestation", short(proved) | {"attester": "one.example", "outcome": "signed", "signer": "0x" + "33" * 20}),
        ("attestation", short(proved) | {"attester": "own", "outcome": "refused", "signer": None}),
    ]


def test_answer_after_a_signature__is_told_as_what_stays(
    told: Callable[..., Said], database: Database, proved: Prediction
) -> None:
    with database.unit_of_work() as store:
        store.attestations.record([answer(proved, AttestationOutcome.SIGNED)], ORACLE)
    late = [answer(proved, AttestationOutcome.UNREACHABLE)]
    ((_, said),) = told(lambda store: store.attestations.record(late, ORACLE))
    assert (said["outcome"], said["signer"]) == ("signed", "0x" + "33" * 20)


def test_record__of_a_transaction__is_told_for_each_window_that_it_carries(
    told: Callable[..., Said], predict: Predict, prove: Callable[[], None]
) -> None:
    both = [predict(), predict(feed="eth-usdt-4h")]
    for _ in both:
        prove()
    ids = [one.id for one in both]
    assert told(lambda store: store.submissions.record(ids, signed(1), 9)) == [
        ("transaction", on_chain(one, state="sent")) for one in both
    ]
    assert told(lambda store: store.submissions.record(ids, signed(1), 9)) == []


def test_transaction__replaced__is_told_with_its_new_hash(told: Callable[..., Said], sent: Prediction) -> None:
    assert told(lambda store: store.submissions.replace(signed(1), signed(2), 10)) == [
        ("transaction", on_chain(sent, state="sent", tx_hash=signed(2).tx_hash))
    ]


def test_transaction__in_a_block__is_included(told: Callable[..., Said], sent: Prediction) -> None:
    assert told(lambda store: store.submissions.include(signed(1), receipt(1))) == [
        ("transaction", on_chain(sent, state="included", **IN_BLOCK))
    ]


def test_transaction__deep_enough__is_a_round(told: Callable[..., Said], included: Prediction) -> None:
    assert told(lambda store: store.submissions.settle(signed(1), receipt(1))) == [
        ("round", on_chain(included, state="confirmed", **IN_BLOCK))
    ]


def test_transaction__that_reverted__says_so(told: Callable[..., Said], included: Prediction) -> None:
    assert told(lambda store: store.submissions.settle(signed(1), receipt(1, succeeded=False))) == [
        ("transaction", on_chain(included, state="reverted", **IN_BLOCK))
    ]


def test_transaction__whose_block_is_gone__is_on_its_way_again(told: Callable[..., Said], included: Prediction) -> None:
    assert told(lambda store: store.submissions.vanished(signed(1))) == [
        ("transaction", on_chain(included, state="sent"))
    ]


def test_transaction__that_was_lost__is_withdrawn(told: Callable[..., Said], sent: Prediction) -> None:
    assert told(lambda store: store.submissions.forget(signed(1))) == [
        ("transaction", on_chain(sent, state="withdrawn"))
    ]


def test_transaction__whose_nonce_was_given_up__is_withdrawn(
    told: Callable[..., Said], database: Database, sent: Prediction
) -> None:
    nothing = signed(2, contract=SENDER)
    with database.unit_of_work() as store:
        assert store.submissions.replace(signed(1), nothing, 10)
        store.submissions.include(nothing, receipt(2))
    assert told(lambda store: store.submissions.settle(nothing, receipt(2))) == [
        ("transaction", on_chain(sent, state="withdrawn"))
    ]


BY_OTHERS = (ORACLE.chain_id, ORACLE.contract, "0x" + "77" * 32, 13)


def test_what_others_published__is_a_round_of_theirs_and_withdrawn_when_its_block_is_gone(
    told: Callable[..., Said], proved: Prediction
) -> None:
    theirs = {"tx_hash": "0x" + "77" * 32, "ours": False}
    assert told(lambda store: store.submissions.published_by_others(proved.id, *BY_OTHERS)) == [
        ("round", on_chain(proved, state="confirmed", block_number=13, **theirs))
    ]
    assert told(lambda store: store.submissions.published_by_others(proved.id, *BY_OTHERS)) == []
    assert told(lambda store: store.submissions.withdraw(proved.id, ORACLE.chain_id)) == [
        ("transaction", on_chain(proved, state="withdrawn", **theirs))
    ]


def test_transaction__that_reverted_because_others_were_first__is_told_as_their_round_alone(
    told: Callable[..., Said], included: Prediction
) -> None:
    def settle(store: Store) -> None:
        store.submissions.settle(signed(1), receipt(1, succeeded=False))
        store.submissions.withdraw(included.id, ORACLE.chain_id)
        assert store.submissions.published_by_others(included.id, *BY_OTHERS)

    ((kind, said),) = told(settle)
    assert (kind, said["state"], said["ours"]) == ("round", "confirmed", False)


@pytest.mark.parametrize("realised", [0.0004, None])
def test_outcome__is_told_with_the_forecast_beside_it(
    told: Callable[..., Said], proved: Prediction, realised: float | None
) -> None:
    def judge(store: Store) -> None:
        found = store.predictions.get(proved.id)
        assert found is not None
        store.outcomes.add([outcome_of(found, realised)])
        store.events.note(EventKind.OUTCOME, proved.id, high=None if realised is None else True)

    ((kind, said),) = told(judge)
    says = {name: said[name] for name in ("realised_vol_annualised", "realised_regime", "right", "missing")}
    assert (kind, short(proved).items() <= said.items()) == ("outcome", True)
    assert (said["regime"], said["status"]) == ("low", "proved")
    known = {"realised_regime": "high", "right": False, "missing": None}
    unknown = dict.fromkeys(("realised_vol_annualised", "realised_regime", "right")) | {"missing": "no candles"}
    if realised is not None:
        assert says.pop("realised_vol_annualised") == pytest.approx(realised * MINUTES_PER_YEAR**0.5)
    assert says == (unknown if realised is None else known)


def outcome_of(prediction: Prediction, realised: float | None) -> Outcome:
    return Outcome(
        feed=prediction.feed,
        origin=Origin.LIVE,
        model_id=prediction.model_id,
        window_end_ms=prediction.window_end_ms,
        prediction_id=prediction.id,
        p_high=prediction.p_high,
        score=-1.0,
        high_said=False,
        vol_annualised=prediction.vol_annualised,
        realised=realised,
        past_60=None,
        past_240=None,
        missing=None if realised is not None else "no candles",
        judged_at_ms=9,
    )


def test_the_same_thing_noted_twice__is_told_once(told: Callable[..., Said], proved: Prediction) -> None:
    def note(store: Store) -> None:
        store.events.note(EventKind.PROOF, proved.id)
        store.events.note(EventKind.PROOF, proved.id)
        store.events.note(EventKind.PROOF, "of a prediction that is not there")

    assert [kind for kind, _ in told(note)] == ["proof"]


def test_transaction_that_is_rolled_back__tells_nothing_and_leaves_no_gap(
    database: Database, predict: Predict, make_prediction: Predict, window_end_ms: int
) -> None:
    heard: list[None] = []
    unlisten = database.on_events(lambda: heard.append(None))
    predict(0)
    with suppress(KeyError), database.unit_of_work() as store:
        store.predictions.add(make_prediction(window_end_ms=window_end_ms + MINUTE_MS))
        raise KeyError
    predict(2)
    unlisten()
    predict(3)
    with database.unit_of_work(write=False) as store:
        assert [one.seq for one in store.events.after(0, 10)] == [1, 2, 3]
    assert len(heard) == 2


class Failure(Exception):
    pass


def give_up_each(database: Database, ids: list[PredictionId], seed: int) -> None:
    """Each in a transaction of its own; some are taken back first, when their event is written already."""
    chance = random.Random(seed)
    for one in ids:
        if chance.random() < 0.3:
            with suppress(Failure), database.unit_of_work() as store:
                assert store.jobs.give_up(one, "me", "taken back")
                store.events.write(5)
                raise Failure
        with database.unit_of_work() as store:
            assert store.jobs.give_up(one, "me", "given up")


WRITER = """
import pickle, sys
from pathlib import Path
from app.store.database import Database

url, migrations, ids = pickle.load(sys.stdin.buffer)
database = Database(url, Path(migrations))
for one in ids:
    with database.unit_of_work() as store:
        assert store.jobs.give_up(one, "me", "given up")
"""


@pytest.fixture
def other_process(database_url: str, migrations: Path) -> Iterator[Callable[[list[PredictionId]], None]]:
    """Another process on the same database gives up predictions."""
    started: list[subprocess.Popen[bytes]] = []

    def start(ids: list[PredictionId]) -> None:
        process = subprocess.Popen([sys.executable, "-c", WRITER], stdin=subprocess.PIPE, cwd=migrations.parent)
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(pickle.dumps((database_url, str(migrations), ids)))
        process.stdin.close()

    yield start
    assert [process.wait(timeout=30) for process in started] == [0] * len(started)


def test_events__of_writers_in_threads_and_another_process__reach_a_reader_in_order_and_without_gaps(
    database: Database,
    make_prediction: Predict,
    window_end_ms: int,
    other_process: Callable[[list[PredictionId]], None],
) -> None:
    each, writers = 12, 8
    there = each * (writers + 1)
    made = [make_prediction(window_end_ms=window_end_ms + minute * MINUTE_MS) for minute in range(there)]
    with database.unit_of_work() as store:
        for prediction in made:
            store.predictions.add(prediction)
            assert store.jobs.lease("me", 0, 2**40, 5)
    ids = [prediction.id for prediction in made]
    other_process(ids[:each])
    seen: list[Event] = []
    with ThreadPoolExecutor(writers) as pool:
        writing = [
            pool.submit(give_up_each, database, ids[number * each : (number + 1) * each], number)
            for number in range(1, writers + 1)
        ]
        deadline = time.monotonic() + 30
        while len(seen) < there and time.monotonic() < deadline:
            with database.unit_of_work(write=False) as store:
                seen += store.events.after(seen[-1].seq if seen else there, 7)
        for one in writing:
            one.result()
    assert [event.seq for event in seen] == list(range(there + 1, 2 * there + 1))
    assert sorted(json.loads(event.data)["id"] for event in seen) == sorted(ids)
    assert {json.loads(event.data)["reason"] for event in seen} == {"given up"}


def test_numbers__are_taken_last__so_that_writers_do_not_wait_for_each_other_before(
    database: Database, predict: Predict, make_proof: Callable[..., Proof]
) -> None:
    """On PostgreSQL, where writers of different rows need not wait, both hold a proof that is not committed yet."""
    if database.name.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    made = [predict(0), predict(1)]
    with database.unit_of_work() as store:
        assert store.jobs.lease("me", 0, 60_000, 5)
        assert store.jobs.lease("me", 0, 60_000, 5)
    says = forecast_from((1.0, 0.0, -2.0))
    with database.unit_of_work() as first:
        first.jobs.finish(made[0].id, "me", make_proof(), says, 77)
        with database.unit_of_work() as second:
            second.jobs.finish(made[1].id, "me", make_proof(), says, 77)
    with database.unit_of_work(write=False) as store:
        told = [(one.seq, json.loads(one.data)["id"]) for one in store.events.after(2, 10)]
    assert told == [(3, made[1].id), (4, made[0].id)]


def test_after__gives_a_page_up_to_a_number(database: Database, predict: Predict) -> None:
    for minute in range(5):
        predict(minute)
    with database.unit_of_work(write=False) as store:
        assert [one.seq for one in store.events.after(1, 2)] == [2, 3]
        assert [one.seq for one in store.events.after(1, 10, 3)] == [2, 3]
        assert (store.events.oldest(), store.events.last()) == (1, 5)


def test_prune__forgets_what_is_older_and_goes_on_counting(
    database: Database, predict: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.retention._EVENTS_AT_ONCE", 2)
    for minute in range(5):
        predict(minute)
    assert prune_events(database, 0) == 0
    assert prune_events(database, 2**62) == 5
    with database.unit_of_work(write=False) as store:
        assert (store.events.oldest(), store.events.last(), store.events.after(0, 10)) == (None, 5, [])
    predict(5)
    with database.unit_of_work(write=False) as store:
        assert [one.seq for one in store.events.after(0, 10)] == [6]
