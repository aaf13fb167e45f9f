from __future__ import annotations

from collections.abc import Callable

import pytest

from app.inference.network import forecast_from
from app.store.database import Database
from app.types import MINUTE_MS, ModelId, Prediction, Proof, Regime, Status

FEED = "btc-usdt-4h"
Predict = Callable[..., Prediction]
Prove = Callable[[], Prediction]


@pytest.fixture
def prove_newest(database: Database, make_proof: Callable[..., Proof]) -> Prove:
    """Lease the newest waiting job and finish it with outputs that say low."""

    def prove() -> Prediction:
        with database.unit_of_work() as store:
            job = store.jobs.lease("me", 0, 1_000, 5)
            assert job is not None
            assert store.jobs.finish(job.prediction_id, "me", make_proof(), forecast_from((1.0, 0.0, -2.0)), 77)
            found = store.predictions.get(job.prediction_id)
        assert found is not None
        return found

    return prove


def latest(database: Database, *, proved: bool = True, feed: str = FEED) -> Prediction | None:
    with database.unit_of_work(write=False) as store:
        return store.predictions.latest(feed, proved=proved)


def pages(
    database: Database, limit: int, between_pages: Callable[[], object], *, ends_after: int = 20
) -> list[Prediction]:
    """Follow the cursor to the end of the history."""
    found: list[Prediction] = []
    before: tuple[int, str] | None = None
    for _ in range(ends_after):
        with database.unit_of_work(write=False) as store:
            page = store.predictions.history(FEED, None, None, limit, before)
        if not page:
            return found
        found += page
        before = (page[-1].window_end_ms, page[-1].id)
        between_pages()
    raise AssertionError("the history does not end")


def test_add__new_window__comes_back_as_it_was(database: Database, predict: Predict) -> None:
    stored = predict()
    with database.unit_of_work(write=False) as store:
        assert store.predictions.get(stored.id) == stored


def test_add__new_window__queues_one_job(database: Database, predict: Predict) -> None:
    predict()
    with database.unit_of_work(write=False) as store:
        assert store.jobs.waiting() == 1


def test_add__the_same_key_again__is_refused_and_keeps_the_first(
    database: Database, predict: Predict, make_prediction: Predict
) -> None:
    first = predict()
    with database.unit_of_work() as store:
        added = store.predictions.add(make_prediction(p_high=0.9))
        assert (added, store.predictions.get(first.id), store.jobs.waiting()) == (False, first, 1)


@pytest.mark.parametrize("other", [{"feed": "eth-usdt-4h"}, {"model_id": ModelId("ee" * 32)}, {"minute": 1}])
def test_add__another_feed_model_or_window__is_another_prediction(
    database: Database, predict: Predict, other: dict[str, object]
) -> None:
    predict()
    predict(**other)
    with database.unit_of_work(write=False) as store:
        assert store.jobs.waiting() == 2


def test_add__exception_later_in_the_unit_of_work__leaves_neither_prediction_nor_job(
    database: Database, make_prediction: Predict
) -> None:
    made = make_prediction()

    def add_and_stop() -> None:
        with database.unit_of_work() as store:
            store.predictions.add(made)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        add_and_stop()
    with database.unit_of_work(write=False) as store:
        assert (store.predictions.get(made.id), store.jobs.waiting()) == (None, 0)


def test_get__unknown_id__is_none(database: Database) -> None:
    with database.unit_of_work(write=False) as store:
        assert store.predictions.get("0" * 32) is None


def test_latest__nothing_proved__is_none(database: Database, predict: Predict) -> None:
    predict()
    assert latest(database) is None


def test_latest__of_any_state__is_the_newest_window(database: Database, predict: Predict) -> None:
    newest = predict(5)
    predict(3)
    assert latest(database, proved=False) == newest


def test_latest__newer_windows_not_proved__is_the_newest_proved(
    database: Database, predict: Predict, prove_newest: Prove
) -> None:
    predict(0)
    predict(1)
    proved = prove_newest()
    predict(2)
    assert latest(database) == proved


@pytest.mark.parametrize("proved", [True, False])
def test_latest__of_another_feed__is_none(
    database: Database, predict: Predict, prove_newest: Prove, proved: bool
) -> None:
    predict()
    prove_newest()
    assert latest(database, proved=proved, feed="eth-usdt-4h") is None


def test_finish__serves_what_the_circuit_says(predict: Predict, prove_newest: Prove) -> None:
    predict(regime=Regime.HIGH)
    proved = prove_newest()
    says = forecast_from((1.0, 0.0, -2.0))
    assert (proved.status, proved.regime, proved.p_high, proved.vol_annualised) == (
        Status.PROVED,
        Regime.LOW,
        says.p_high,
        says.vol_annualised,
    )


def test_finish__keeps_what_the_network_said(predict: Predict, prove_newest: Prove) -> None:
    predict(network_outputs=(0.5, 0.25, -1 / 3))
    assert prove_newest().network_outputs == (0.5, 0.25, -1 / 3)


def test_history__is_newest_first(database: Database, predict: Predict) -> None:
    for minute in (3, 1, 2):
        predict(minute)
    with database.unit_of_work(write=False) as store:
        ends = [found.window_end_ms for found in store.predictions.history(FEED, None, None, 10)]
    assert ends == sorted(ends, reverse=True)
    assert len(ends) == 3


def test_history__bounds__include_the_start_and_not_the_end(
    database: Database, predict: Predict, window_end_ms: int
) -> None:
    for minute in range(5):
        predict(minute)
    with database.unit_of_work(write=False) as store:
        found = store.predictions.history(FEED, window_end_ms + MINUTE_MS, window_end_ms + 3 * MINUTE_MS, 10)
    assert [(one.window_end_ms - window_end_ms) // MINUTE_MS for one in found] == [2, 1]


def test_history__more_than_the_limit__is_cut(database: Database, predict: Predict) -> None:
    for minute in range(5):
        predict(minute)
    with database.unit_of_work(write=False) as store:
        assert len(store.predictions.history(FEED, None, None, 2)) == 2


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_history__cursor__neither_skips_nor_repeats_while_newer_windows_arrive(
    database: Database, predict: Predict, limit: int
) -> None:
    stored = [predict(minute).id for minute in range(6, -1, -1)]
    minutes = iter(range(10, 30))
    found = pages(database, limit, lambda: predict(next(minutes)))
    assert [one.id for one in found] == stored


def test_history__two_models_of_one_window__are_both_found_by_the_cursor(database: Database, predict: Predict) -> None:
    stored = {predict(minute, model_id=ModelId(model * 32)).id for minute in range(3) for model in ("aa", "bb", "cc")}
    found = [one.id for one in pages(database, 1, lambda: None)]
    assert len(found) == 9
    assert set(found) == stored


def test_proof__of_a_proved_prediction__comes_back_exactly(
    database: Database, predict: Predict, make_proof: Callable[..., Proof]
) -> None:
    stored = predict()
    proof = make_proof(instances=(-(10**70), 0, 10**70))
    with database.unit_of_work() as store:
        store.jobs.lease("me", 0, 1_000, 5)
        store.jobs.finish(stored.id, "me", proof, forecast_from((0, 0, 0)), 77)
    with database.unit_of_work(write=False) as store:
        assert store.predictions.proof(stored.id) == (proof, 77)


def test_proof__not_proved__is_none(database: Database, predict: Predict) -> None:
    stored = predict()
    with database.unit_of_work(write=False) as store:
        assert store.predictions.proof(stored.id) is None


def test_prove_seconds__are_those_of_the_proved(database: Database, predict: Predict, prove_newest: Prove) -> None:
    waiting, _ = predict(0), predict(1)
    proved = prove_newest()
    with database.unit_of_work(write=False) as store:
        assert store.predictions.prove_seconds([waiting.id, proved.id]) == {proved.id: 0.25}


def test_prove_seconds__of_nothing__are_none(database: Database) -> None:
    with database.unit_of_work(write=False) as store:
        assert store.predictions.prove_seconds([]) == {}
