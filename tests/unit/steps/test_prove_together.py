"""Windows of several feeds in one proof: when they are taken together, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.clock import Clock
from app.errors import ProverDied
from app.inference.network import dequantise, forecast_from
from app.inference.release import ReleasedModel
from app.metrics import Metrics
from app.steps.backlog import Backlog
from app.steps.prove import ProofStep, ProveOutcome, ProvingPolicy
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import AttemptOutcome, Feed, Keys, Prediction, Proof, Status

Predict = Callable[..., Prediction]
ScriptedPool = Any
FEEDS = ("btc-usdt-4h", "eth-usdt-4h", "sol-usdt-4h")
PLACES = 4
"""Of the joint circuit here: one more than there are feeds."""


@pytest.fixture
def batch_keys(served: ServedFeed, model: ReleasedModel) -> Keys:
    assert model.batch is not None
    return replace(served.keys, circuit=replace(model.batch, windows=PLACES), vk_hash="56" * 32)


@pytest.fixture
def backlog() -> Backlog:
    """Three feeds: three windows a minute."""
    return Backlog(catch_up_s=600, arrivals_per_s=3 / 60, windows_at_once=3)


@pytest.fixture
def make_step(
    sqlite_database: Database,
    served: ServedFeed,
    batch_keys: Keys,
    pool: ScriptedPool,
    metrics: Metrics,
    policy: ProvingPolicy,
    backlog: Backlog,
    wall: list[int],
    window_end_ms: int,
) -> Callable[..., ProofStep]:
    """A step that serves three feeds with one model, with the seconds that its proofs took so far."""

    def make(
        batching: Any = "always",
        saves_gas: bool = False,
        keys: Keys | None = batch_keys,
        single_s: float | None = None,
        joint_s: float | None = None,
        due: Callable[[Prediction], bool] = lambda _: True,
    ) -> ProofStep:
        feeds = {name: replace(served, feed=Feed(name, name[:3].upper()), batch_keys=keys) for name in FEEDS}
        for seconds, joint in ((single_s, False), (joint_s, True)):
            if seconds is not None:
                backlog.add(seconds, joint=joint)
        clock = Clock(market_start_ms=window_end_ms + 1_500, speed=0)
        wanted = replace(policy, batching=batching, saves_gas=saves_gas)
        return ProofStep(feeds, sqlite_database, pool, clock, metrics, wanted, backlog, due)

    return make


@pytest.fixture
def minute(predict: Predict) -> Callable[..., list[Prediction]]:
    """Predictions of the feeds for one minute, in the order of their places in a joint proof."""

    def predict_all(*names: str, **fields: object) -> list[Prediction]:
        made = [
            predict(feed=name, observation=(number, -number, 7), **fields)
            for number, name in enumerate(names or FEEDS, start=1)
        ]
        return sorted(made, key=lambda prediction: prediction.id)

    return predict_all


@pytest.fixture
def agreeing(pool: ScriptedPool, proof_off_by: Callable[..., Proof]) -> Proof:
    """The pool's answer: a joint proof that agrees with every network, with other outputs in every place."""
    joint: Proof = proof_off_by(0.1, 0.2, 0.3, 0.0)
    pool.joint_answer = joint
    return joint


@pytest.fixture
def found(sqlite_database: Database) -> Callable[[Prediction], Prediction]:
    def read(prediction: Prediction) -> Prediction:
        with sqlite_database.unit_of_work(write=False) as store:
            stored = store.predictions.get(prediction.id)
        assert stored is not None
        return stored

    return read


def asked_together(pool: ScriptedPool) -> list[bool]:
    return [keys.circuit.windows > 1 for keys, _ in pool.asked]


@pytest.mark.usefixtures("agreeing")
def test_next__together__proves_all_inputs_one_after_another_and_zeros_in_the_empty_place(
    make_step: Callable[..., ProofStep], pool: ScriptedPool, minute: Callable[..., list[Prediction]], batch_keys: Keys
) -> None:
    made = minute()
    assert make_step().next() is ProveOutcome.PROVED
    inputs = tuple(value for prediction in made for value in prediction.observation)
    assert pool.asked == [(batch_keys, (*inputs, 0, 0, 0))]


def test_next__together__stores_one_proof_with_the_place_of_each(
    make_step: Callable[..., ProofStep],
    minute: Callable[..., list[Prediction]],
    agreeing: Proof,
    sqlite_database: Database,
) -> None:
    made = minute()
    make_step().next()
    members = (*(prediction.id for prediction in made), None)
    with sqlite_database.unit_of_work(write=False) as store:
        proofs = [store.predictions.proof(prediction.id) for prediction in made]
    assert [proof for proof, _ in filter(None, proofs)] == [
        replace(agreeing, members=members, slot=slot) for slot in range(3)
    ]


def test_next__together__serves_to_each_feed_what_the_circuit_says_in_its_place(
    make_step: Callable[..., ProofStep],
    minute: Callable[..., list[Prediction]],
    agreeing: Proof,
    model: ReleasedModel,
    found: Callable[[Prediction], Prediction],
) -> None:
    made = minute()
    make_step().next()
    for slot, prediction in enumerate(made):
        says = forecast_from(dequantise(agreeing.instances[3 * slot : 3 * slot + 3], model.output_scale))
        assert (found(prediction).p_high, found(prediction).vol_annualised) == (says.p_high, says.vol_annualised)


@pytest.mark.usefixtures("agreeing")
def test_next__together__each_attempt_says_with_how_many(
    make_step: Callable[..., ProofStep], minute: Callable[..., list[Prediction]], sqlite_database: Database
) -> None:
    made = minute()
    make_step().next()
    with sqlite_database.unit_of_work(write=False) as store:
        tried = [store.attempts.of(prediction.id) for prediction in made]
    assert [(one.outcome, one.windows) for (one,) in tried] == [(AttemptOutcome.PROVED, 3)] * 3


@pytest.mark.usefixtures("agreeing")
def test_next__together__is_remembered_as_the_speed_of_joint_proofs_only(
    make_step: Callable[..., ProofStep], minute: Callable[..., list[Prediction]], backlog: Backlog
) -> None:
    minute()
    make_step().next()
    assert backlog.seconds(joint=False) is None
    assert backlog.seconds(joint=True) is not None


@pytest.mark.parametrize(
    ("setting", "together"),
    [
        ({"batching": "off", "saves_gas": True}, False),
        ({"batching": "always", "keys": None}, False),
        ({"batching": "always"}, True),
        ({"batching": "auto"}, False),
        ({"batching": "auto", "saves_gas": True}, True),
        ({"batching": "auto", "saves_gas": True, "single_s": 0.2, "joint_s": 60.0}, True),
        ({"batching": "auto", "saves_gas": True, "single_s": 0.2, "joint_s": 61.0}, False),
        ({"batching": "always", "single_s": 0.2, "joint_s": 61.0}, True),
        ({"batching": "auto", "single_s": 0.2}, False),
        ({"batching": "auto", "single_s": 0.2, "joint_s": 0.59}, True),
        ({"batching": "auto", "single_s": 0.2, "joint_s": 0.61}, False),
        ({"batching": "auto", "single_s": 0.2, "joint_s": 0.01}, True),
    ],
    ids=[
        "off",
        "no joint circuit",
        "always",
        "auto, unmeasured: seven windows are needed",
        "auto, on a chain",
        "auto, on a chain, in the minute",
        "auto, on a chain, too slow for the minute",
        "always, however slow",
        "auto, half measured",
        "auto, faster together",
        "auto, slower together",
        "auto, much faster together",
    ],
)
@pytest.mark.usefixtures("agreeing")
def test_next__three_windows_wait__are_taken_together_where_the_policy_says_so(
    make_step: Callable[..., ProofStep],
    pool: ScriptedPool,
    minute: Callable[..., list[Prediction]],
    setting: dict[str, Any],
    together: bool,
) -> None:
    minute()
    make_step(**setting).next()
    assert asked_together(pool) == [together]


@pytest.mark.parametrize(("due", "together"), [((), False), (FEEDS[:1], False), (FEEDS[1:], True)], ids=str)
@pytest.mark.usefixtures("agreeing")
def test_next__on_a_chain__windows_are_taken_together_where_two_of_them_go_there(
    make_step: Callable[..., ProofStep],
    pool: ScriptedPool,
    minute: Callable[..., list[Prediction]],
    due: tuple[str, ...],
    together: bool,
) -> None:
    minute()
    make_step("auto", saves_gas=True, due=lambda one: one.feed in due).next()
    assert asked_together(pool) == [together]


@pytest.mark.parametrize(("slots", "together"), [(1, True), (2, True), (3, False)])
@pytest.mark.usefixtures("agreeing")
def test_next__several_provers__a_joint_proof_competes_with_all_of_them_at_once(
    make_step: Callable[..., ProofStep],
    pool: ScriptedPool,
    minute: Callable[..., list[Prediction]],
    slots: int,
    together: bool,
) -> None:
    pool.slots = slots
    minute()
    make_step("auto", single_s=0.2, joint_s=0.3).next()
    assert asked_together(pool) == [together]


def test_next__more_windows_than_places__leaves_the_rest_to_the_next(
    make_step: Callable[..., ProofStep],
    batch_keys: Keys,
    pool: ScriptedPool,
    minute: Callable[..., list[Prediction]],
    proof_off_by: Callable[..., Proof],
) -> None:
    minute()
    pool.joint_answer = proof_off_by(0, 0)
    step = make_step(keys=replace(batch_keys, circuit=replace(batch_keys.circuit, windows=2)))
    step.next()
    step.next()
    assert asked_together(pool) == [True, False]


@pytest.mark.usefixtures("agreeing")
def test_next__feeds_of_another_minute__are_not_taken_with_the_newest(
    make_step: Callable[..., ProofStep],
    pool: ScriptedPool,
    minute: Callable[..., list[Prediction]],
    window_end_ms: int,
    found: Callable[[Prediction], Prediction],
) -> None:
    older = minute("btc-usdt-4h", "eth-usdt-4h")
    newer = minute("btc-usdt-4h", "sol-usdt-4h", window_end_ms=window_end_ms + 60_000)
    make_step().next()
    assert [found(one).status for one in (*older, *newer)] == [Status.PREDICTED] * 2 + [Status.PROVED] * 2


@pytest.mark.usefixtures("agreeing")
def test_next__not_all_feeds_there_yet__gathers(
    make_step: Callable[..., ProofStep], pool: ScriptedPool, minute: Callable[..., list[Prediction]], wall: list[int]
) -> None:
    minute("btc-usdt-4h", "eth-usdt-4h", queued_at_ms=wall[0] - 399)
    step = make_step()
    assert (step.next(), pool.asked) == (ProveOutcome.GATHERING, [])


@pytest.mark.usefixtures("agreeing")
def test_next__the_last_feed_arrives__waits_no_longer(
    make_step: Callable[..., ProofStep], pool: ScriptedPool, minute: Callable[..., list[Prediction]], wall: list[int]
) -> None:
    step = make_step()
    minute("btc-usdt-4h", "eth-usdt-4h", queued_at_ms=wall[0])
    outcomes = [step.next()]
    minute("sol-usdt-4h", queued_at_ms=wall[0] + 10)
    assert [*outcomes, step.next()] == [ProveOutcome.GATHERING, ProveOutcome.PROVED]
    assert asked_together(pool) == [True]


@pytest.mark.parametrize(("feeds", "together"), [(2, True), (1, False)])
@pytest.mark.usefixtures("agreeing")
def test_next__gathered_long_enough__proves_what_is_there(
    make_step: Callable[..., ProofStep],
    pool: ScriptedPool,
    minute: Callable[..., list[Prediction]],
    wall: list[int],
    feeds: int,
    together: bool,
) -> None:
    minute(*FEEDS[:feeds], queued_at_ms=wall[0] - 400)
    assert make_step().next() is ProveOutcome.PROVED
    assert asked_together(pool) == [together]


def test_next__joint_proof_fails__is_tried_again_one_by_one(
    make_step: Callable[..., ProofStep],
    pool: ScriptedPool,
    minute: Callable[..., list[Prediction]],
    proof_off_by: Callable[..., Proof],
    wall: list[int],
    sqlite_database: Database,
) -> None:
    made, step = minute(), make_step()
    pool.answer = ProverDied("gone")
    outcomes = [step.next()]
    wall[0] += 1_000
    pool.answer = proof_off_by(0)
    outcomes += [step.next() for _ in range(4)]
    assert outcomes == [ProveOutcome.WILL_RETRY, *[ProveOutcome.PROVED] * 3, ProveOutcome.IDLE]
    assert asked_together(pool) == [True, False, False, False]
    with sqlite_database.unit_of_work(write=False) as store:
        tried = [[(one.number, one.outcome, one.windows) for one in store.attempts.of(each.id)] for each in made]
    assert tried == [[(1, AttemptOutcome.DIED, 3), (2, AttemptOutcome.PROVED, 1)]] * 3


@pytest.fixture
def one_of_three_disagrees(
    make_step: Callable[..., ProofStep],
    pool: ScriptedPool,
    minute: Callable[..., list[Prediction]],
    proof_off_by: Callable[..., Proof],
) -> list[Prediction]:
    """Whose joint proof says something else in its second place."""
    made = minute()
    pool.joint_answer = proof_off_by(0, 3, 0, 0)
    assert make_step().next() is ProveOutcome.DISAGREEMENT
    return made


def test_next__one_window_of_a_joint_proof_disagrees__the_others_are_served(
    one_of_three_disagrees: list[Prediction], found: Callable[[Prediction], Prediction]
) -> None:
    statuses = [found(prediction).status for prediction in one_of_three_disagrees]
    assert statuses == [Status.PROVED, Status.FAILED, Status.PROVED]


def test_next__one_window_of_a_joint_proof_disagrees__only_its_feed_has_an_alarm(
    one_of_three_disagrees: list[Prediction], metrics: Metrics, sqlite_database: Database
) -> None:
    _, off, _ = one_of_three_disagrees
    with sqlite_database.unit_of_work(write=False) as store:
        assert [alarm.feed for alarm in store.disagreements.open()] == [off.feed]
    counted = {
        feed: metrics.registry.get_sample_value("veriregime_disagreements_total", {"feed": feed}) for feed in FEEDS
    }
    assert counted == {**dict.fromkeys(FEEDS), off.feed: 1}


def test_next__one_window_of_a_joint_proof_disagrees__its_place_is_kept_for_study(
    one_of_three_disagrees: list[Prediction], pool: ScriptedPool, sqlite_database: Database
) -> None:
    _, off, _ = one_of_three_disagrees
    with sqlite_database.unit_of_work(write=False) as store:
        kept = store.disagreements.window(off.id)
    assert kept is not None
    assert (kept["slot"], tuple(kept["circuit_outputs"])) == (1, pool.joint_answer.instances[3:6])
    assert kept["members"] == [*(prediction.id for prediction in one_of_three_disagrees), None]


def test_next__one_window_of_a_joint_proof_disagrees__it_is_not_among_those_on_the_chain(
    one_of_three_disagrees: list[Prediction], sqlite_database: Database
) -> None:
    first, _, third = one_of_three_disagrees
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.predictions.proved_with(first.id) == [first.id, third.id]


@pytest.mark.usefixtures("agreeing")
def test_next__lease_of_one_lost_meanwhile__the_others_are_served(
    make_step: Callable[..., ProofStep],
    pool: ScriptedPool,
    minute: Callable[..., list[Prediction]],
    taken_over: Callable[[], None],
    sqlite_database: Database,
    found: Callable[[Prediction], Prediction],
) -> None:
    made = minute()
    pool.meanwhile = taken_over
    assert make_step().next() is ProveOutcome.LEASE_LOST
    statuses = [found(prediction).status for prediction in made]
    assert sorted(statuses) == [Status.PROVED, Status.PROVED, Status.PROVING]
    with sqlite_database.unit_of_work(write=False) as store:
        assert [len(store.attempts.of(one.id)) for one in made] == [status is Status.PROVED for status in statuses]
