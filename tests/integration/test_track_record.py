"""The track record says what `evaluate` says of the same windows: forecasts judged live, and a back-test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
import typer
from typer.testing import CliRunner

from app.backtest import backtest_of_file, backtest_of_venue, in_background, store_backtest
from app.candles.files import read_candles
from app.candles.venue import Venue
from app.cli.backtest import backtest as backtest_command
from app.clock import Clock
from app.features.realised import series_of
from app.features.variation import CANDLES_NEEDED
from app.inference.network import dequantise, forecast_from
from app.inference.release import NETWORK, ReleasedModel
from app.metrics import Metrics
from app.steps.judge import JudgeStep
from app.steps.served import ServedFeed
from app.store.database import Database
from app.store.outcomes import Origin
from app.training.circuit import circuit_outputs
from app.training.datasets import Samples
from app.training.evaluate import evaluate, usable_windows
from app.types import DAY_MS, MINUTE_MS, Prediction, Sources, Status, parse_time
from app.web.record_schemas import TrackRecordOut
from app.web.track_record import TrackRecord, shown
from app.wiring import Application

FEED = "btc-usdt-4h"
FROM, TO = "2025-09-11T08:00:00Z", "2025-09-11T18:00:00Z"
FROM_MS, TO_MS = parse_time(FROM), parse_time(TO)
WINDOWS = 600
HORIZON_MS = 240 * MINUTE_MS
BASELINES = ("persistence_60", "persistence_240")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("track-record")


@pytest.fixture(scope="module")
def file(recorded_btc: Path, folder: Path) -> Path:
    """As much of the recording as the windows and their hours need, and an hour that nobody may look at."""
    candles = read_candles(recorded_btc).between(
        FROM_MS - CANDLES_NEEDED * MINUTE_MS, TO_MS + HORIZON_MS + 60 * MINUTE_MS
    )
    names = ("open", "high", "low", "close", "volume")
    table = {"open_time": candles.open_time_ms} | {name: getattr(candles, name) for name in names}
    pa_parquet.write_table(pa.table(table), folder / "btc.parquet")
    return folder / "btc.parquet"


@pytest.fixture(scope="module")
def evaluated(file: Path, model: ReleasedModel, folder: Path) -> dict[str, Any]:
    models = folder / "models"
    models.mkdir()
    (models / model.folder.name).symlink_to(model.folder)
    return evaluate(file, models, model=None, start_ms=FROM_MS, end_ms=TO_MS)


@pytest.fixture
def served(serve: Callable[..., ServedFeed], make_venue: Any, file: Path) -> ServedFeed:
    return serve(make_venue(read_candles(file)))


@pytest.fixture
def windows(file: Path, model: ReleasedModel) -> Samples:
    return usable_windows(series_of(read_candles(file)), file, model, FROM_MS, TO_MS)


@pytest.fixture
def proved(
    windows: Samples,
    file: Path,
    model: ReleasedModel,
    database: Database,
    make_prediction: Callable[..., Prediction],
) -> None:
    """A stored prediction for each window with the very numbers that its proof would show, and the candles."""
    pytest.importorskip("onnx", reason="onnx comes with the train extra")
    from app.training.export import read_weights

    outputs = circuit_outputs(read_weights(model.folder / NETWORK), windows.observations)
    with database.unit_of_work() as store:
        store.candles.add("binance", "BTC/USDT", read_candles(file))
        for end_ms, instances in zip(windows.end_ms.tolist(), outputs.tolist(), strict=True):
            said = forecast_from(dequantise(instances, model.output_scale))
            made = make_prediction(
                window_end_ms=end_ms,
                model_id=model.model_id,
                status=Status.PROVED,
                regime=said.regime,
                p_high=said.p_high,
                vol_annualised=said.vol_annualised,
                quorum=1,
                sources=Sources({"binance": "BTC/USDT"}, {}, as_of=1),
            )
            store.predictions.add(made)


def told(record: TrackRecordOut) -> dict[str, Any]:
    names = ("windows", "left_out", "high_share", "model")
    body = record.model_dump(include=set(names))
    return body | {name: getattr(record.baselines, name).model_dump() for name in BASELINES}


def as_shown(evaluated: dict[str, Any]) -> dict[str, Any]:
    """What `evaluate` found, in the digits that the API shows."""
    columns = {"model": evaluated["model"]} | {name: evaluated["baselines"][name] for name in BASELINES}
    return {
        "windows": evaluated["n"],
        "left_out": evaluated["left_out"],
        "high_share": shown(evaluated["high_share"]),
        **{name: {key: shown(value) for key, value in column.items()} for name, column in columns.items()},
    }


def test_track_record__forecasts_judged_as_time_goes_by__equals_evaluate_to_the_last_digit_shown(
    proved: None, served: ServedFeed, database: Database, model: ReleasedModel, evaluated: dict[str, Any]
) -> None:
    judge = JudgeStep({FEED: served}, database, Clock(market_start_ms=TO_MS, speed=0), Metrics())
    record = TrackRecord(database)
    for now_ms in range(FROM_MS, TO_MS + HORIZON_MS + 1, 120 * MINUTE_MS):
        judge.next(FEED, now_ms)
        record.record(FEED, model, Origin.LIVE, FROM_MS, TO_MS)  # what is read piece by piece is the whole
    assert (evaluated["n"], 0.05 < evaluated["high_share"] < 0.95) == (WINDOWS, True)
    found = record.record(FEED, model, Origin.LIVE, FROM_MS, TO_MS)
    assert told(found) == as_shown(evaluated)
    assert found.pending == 0
    assert found.points_above_better_persistence == shown(evaluated["per_month"][0]["points_above_persistence_better"])
    assert record.record(FEED, model, Origin.BACKTEST).windows == 0


def test_outcomes__past_and_realised__are_evaluates_labels_to_the_last_bit(
    proved: None, served: ServedFeed, database: Database, model: ReleasedModel, windows: Samples
) -> None:
    judge = JudgeStep({FEED: served}, database, Clock(market_start_ms=TO_MS, speed=0), Metrics())
    while judge.next(FEED, TO_MS + HORIZON_MS):
        pass
    with database.unit_of_work(write=False) as store:
        found = store.outcomes.since(FEED, Origin.LIVE, model.model_id, 0, 1_000)
    assert np.array_equal(found.end_ms, windows.end_ms)
    assert np.array_equal(found.realised, windows.volatility)
    assert np.array_equal(found.past_60, windows.past[60])
    assert np.array_equal(found.past_240, windows.past[240])


def test_backtest__of_a_file_up_to_now__equals_evaluate_and_sees_nothing_later(
    file: Path, served: ServedFeed, database: Database, model: ReleasedModel, evaluated: dict[str, Any]
) -> None:
    now_ms = TO_MS + HORIZON_MS - MINUTE_MS
    done = backtest_of_file(file, served, now_ms, days=1)
    assert store_backtest(database, done) == WINDOWS, "the file has no day, and the last hours are not over"
    found = TrackRecord(database).record(FEED, model, Origin.BACKTEST)
    assert told(found) == as_shown(evaluated)
    assert (found.start, found.end, found.origin) == (FROM, TO, "backtest")


def test_backtest__of_a_venue__is_that_of_the_same_candles(
    file: Path, served: ServedFeed, make_venue: Any, database: Database, model: ReleasedModel
) -> None:
    venue = make_venue(read_candles(file))
    done = backtest_of_venue(cast(Venue, venue), served, TO_MS + HORIZON_MS, days=1)
    same = backtest_of_file(file, served, TO_MS + HORIZON_MS, days=1)
    assert list(done.outcomes()) == list(same.outcomes())
    assert venue.asked == [(TO_MS - DAY_MS - CANDLES_NEEDED * MINUTE_MS, TO_MS + HORIZON_MS)]


def test_backtest__in_the_background__begins_with_the_first_proved_forecast(
    file: Path,
    served: ServedFeed,
    database: Database,
    model: ReleasedModel,
    make_prediction: Callable[..., Prediction],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.backtest._LOOK_EVERY_S", 0.01)
    clock = Clock(market_start_ms=TO_MS + HORIZON_MS + 30_000, speed=0)
    app = SimpleNamespace(feeds={FEED: served}, database=database, clock=clock)

    def windows() -> int:
        return TrackRecord(database).record(FEED, model, Origin.BACKTEST).windows

    with in_background(cast(Application, app), file, days=1):
        time.sleep(0.1)
        assert windows() == 0
        with database.unit_of_work() as store:
            store.predictions.add(make_prediction(model_id=model.model_id, status=Status.PROVED))
        give_up = time.monotonic() + 10
        while windows() < WINDOWS + 1 and time.monotonic() < give_up:
            time.sleep(0.02)
    assert windows() == WINDOWS + 1


def test_backtest__command__takes_the_place_of_the_one_before(
    file: Path, model: ReleasedModel, evaluated: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERIREGIME_VAR_DIR", str(tmp_path))
    app = typer.Typer()
    app.command()(backtest_command)
    asked = [FEED, "--candles", str(file), "--json"]
    assert CliRunner().invoke(app, [*asked, "--to", "2025-09-11T12:00:00Z"]).exit_code == 0
    result = CliRunner().invoke(app, [*asked, "--from", FROM, "--to", TO])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["windows"] == WINDOWS
    database = Database(f"sqlite:///{tmp_path / 'veriregime.db'}", Path("migrations"))
    found = TrackRecord(database).record(FEED, model, Origin.BACKTEST)
    database.close()
    assert told(found) == as_shown(evaluated)
    assert CliRunner().invoke(app, ["btc", "--candles", str(file)]).exit_code == 2
