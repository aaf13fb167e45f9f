"""Windows of several feeds in one proof, from the market to the chain and back through the audit."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from app.audit.bundle import Bundle, parse_bundle
from app.demo import MarketOptions, demo_application
from app.once import attest, confirm
from app.settings import Settings
from app.steps.prove import ProveOutcome
from app.steps.publishing import SubmitOutcome
from app.types import Prediction, Status
from app.web.reading import Reader
from app.wiring import Application

FEEDS = ("btc-usdt-4h", "eth-usdt-4h")


@pytest.fixture(scope="module")
def two_feeds(settings: Settings) -> Iterator[Application]:
    """The demo with two feeds, which prove together because that saves gas."""
    both = settings.model_copy(update={"feeds": FEEDS, "batching": "auto"})
    with demo_application(both, MarketOptions(seed=11)) as wired:
        yield wired


@pytest.fixture(scope="module")
def joint(two_feeds: Application) -> list[Prediction]:
    """Both feeds' predictions of one minute, whose one proof was accepted on the chain."""
    end_ms = two_feeds.clock.last_minute_ms()
    made = [two_feeds.pipeline.forecast(feed, end_ms)[0] for feed in FEEDS]
    assert two_feeds.pipeline.prove_next() is ProveOutcome.PROVED
    attest(two_feeds)
    confirm(two_feeds)
    with two_feeds.database.unit_of_work(write=False) as store:
        return [found for found in (store.predictions.get(prediction.id) for prediction in made) if found]


@pytest.fixture(scope="module")
def bundle(two_feeds: Application, joint: list[Prediction]) -> Bundle:
    return Reader(two_feeds).bundle(joint[1].id)


def test_two_feeds_of_one_minute__are_proved_by_one_proof(two_feeds: Application, joint: list[Prediction]) -> None:
    with two_feeds.database.unit_of_work(write=False) as store:
        proofs = [found[0] for found in (store.predictions.proof(prediction.id) for prediction in joint) if found]
    first, second = proofs
    assert first.proof == second.proof
    assert {first.slot, second.slot} == {0, 1}
    assert set(first.members) == {joint[0].id, joint[1].id, None}
    assert first.outputs != second.outputs


def test_joint_proof__goes_to_the_chain_in_one_transaction(two_feeds: Application, joint: list[Prediction]) -> None:
    assert [prediction.status for prediction in joint] == [Status.CONFIRMED] * 2
    with two_feeds.database.unit_of_work(write=False) as store:
        sent = store.submissions.of([prediction.id for prediction in joint])
    assert len({submission.tx_hash for submission in sent.values()}) == 1
    assert two_feeds.pipeline.submit_next() is SubmitOutcome.IDLE
    target = two_feeds.pipeline.target
    assert target is not None
    newest = [target.rounds.newest(prediction.feed) for prediction in joint]
    assert [found.window_end_ms for found in newest if found] == [prediction.window_end_ms for prediction in joint]


def test_joint_proof__serves_what_the_network_said_of_each_feed(joint: list[Prediction]) -> None:
    for prediction in joint:
        low, high, _ = prediction.network_outputs
        assert prediction.regime == ("high" if high > low else "low")


def test_attempt__of_a_joint_proof__says_how_many_windows_it_proved(
    two_feeds: Application, joint: list[Prediction]
) -> None:
    with two_feeds.database.unit_of_work(write=False) as store:
        attempts = [store.attempts.of(prediction.id) for prediction in joint]
    assert [(tried.outcome, tried.windows) for (tried,) in attempts] == [("proved", 2)] * 2
    assert all(tried.queue_seconds is not None and tried.prove_seconds for (tried,) in attempts)


def test_bundle__of_a_joint_proof__holds(two_feeds: Application, bundle: Bundle) -> None:
    verdict = two_feeds.auditor.verify(parse_bundle(bundle.model_dump_json().encode(), 2**24))
    assert verdict.holds, verdict.reason
    assert len(verdict.signers) >= 2


@pytest.mark.parametrize(
    "change",
    [
        lambda attested: attested["windows"].reverse(),
        lambda attested: attested["windows"].pop(),
        lambda attested: attested["windows"][0].__setitem__(1, "2026-01-01T00:00:00Z"),
        lambda attested: attested["signatures"][0].update(attested["signatures"][1], r="0x" + "11" * 32),
    ],
    ids=["the order", "one window less", "another end", "another r"],
)
def test_bundle__of_a_joint_proof__signatures_over_other_windows__do_not_hold(
    two_feeds: Application, bundle: Bundle, change: object
) -> None:
    document = json.loads(bundle.model_dump_json())
    change(document["attested"])  # type: ignore[operator]
    verdict = two_feeds.auditor.verify(parse_bundle(json.dumps(document).encode(), 2**24))
    assert (verdict.holds, verdict.failed) == (False, "signatures")


def test_update__of_either_feed__is_the_same_call(two_feeds: Application, joint: list[Prediction]) -> None:
    updates = [Reader(two_feeds).update(prediction.feed) for prediction in joint]
    assert updates[0] == updates[1]
    assert {window.feed for window in updates[0].windows} == set(FEEDS)
    assert updates[0].published


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (lambda joint: joint["observations"][0].__setitem__(3, 12345), "commitment"),
        (lambda joint: joint["observations"].reverse(), "commitment"),
        (lambda joint: joint.__setitem__("slot", 0 if joint["slot"] else 1), "outputs"),
        (lambda joint: joint["observations"].__setitem__(9, [1] * 85), "commitment"),
        (lambda joint: joint["observations"].pop(), "keys"),
    ],
    ids=["another feed's input", "the order", "the place", "an empty place", "a place too few"],
)
def test_bundle__of_a_joint_proof_changed__does_not_hold(
    two_feeds: Application, bundle: Bundle, change: object, failed: str
) -> None:
    document = json.loads(bundle.model_dump_json())
    change(document["joint"])  # type: ignore[operator]
    verdict = two_feeds.auditor.verify(parse_bundle(json.dumps(document).encode(), 2**24))
    assert (verdict.holds, verdict.failed) == (False, failed)


def test_feed_alone_in_its_minute__is_proved_alone(two_feeds: Application, joint: list[Prediction]) -> None:
    made, _ = two_feeds.pipeline.forecast(FEEDS[0], joint[0].window_end_ms - 60_000)
    outcomes = [two_feeds.pipeline.prove_next()]
    while outcomes[-1] is ProveOutcome.GATHERING:
        outcomes.append(two_feeds.pipeline.prove_next())
    with two_feeds.database.unit_of_work(write=False) as store:
        found = store.predictions.proof(made.id)
    assert outcomes[-1] is ProveOutcome.PROVED
    assert found is not None
    assert found[0].members == ()
