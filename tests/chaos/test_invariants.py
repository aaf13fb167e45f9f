"""Each invariant finds what breaks it: planted in a copy of a database that is in order."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.inference.network import dequantise, forecast_from
from app.sim.market import SimulatedMarket
from app.store.database import Database
from app.types import MINUTE_MS, Prediction, Regime, Sources, Status, prediction_id
from tests.chaos.invariants.candles import NoCandleLost
from tests.chaos.invariants.chain import ConfirmedIsOnChain
from tests.chaos.invariants.look import Invariant, Lasting, Look
from tests.chaos.invariants.proofs import EveryProofVerifies
from tests.chaos.invariants.rows import NoEventMissing, NoJobStuck, OnePredictionPerWindow
from tests.rig.ground import FEED, Ground
from tests.rig.rig import Published

SEED = 3
MINUTES = 30
OWNER = "here:1"
AT_ONCE = Lasting(-1.0)
"""No grace: what is apart is found at the first look."""


@dataclass(frozen=True)
class Sound:
    """A database with a proved, confirmed forecast and half an hour of the market's candles."""

    file: Path
    window_end_ms: int

    @property
    def round(self) -> Published:
        return Published(b"", self.window_end_ms, "0x1", 1)


@pytest.fixture(scope="module")
def sound(
    ground: Ground, migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory, sound_prediction: Prediction
) -> Sound:
    file = tmp_path_factory.mktemp("sound") / "oracle.db"
    shutil.copy(migrated_sqlite, file)
    database = Database(f"sqlite:///{file}", Path("/nonexistent"))
    end_ms = sound_prediction.window_end_ms
    proof = ground.pool.prove(ground.keys, sound_prediction.observation)
    proved = forecast_from(dequantise(proof.outputs, ground.model.output_scale))
    market = SimulatedMarket(SEED)
    with database.unit_of_work() as store:
        store.candles.add("binance", "BTC/USDT", market.candles("BTC/USDT", end_ms - MINUTES * MINUTE_MS, end_ms))
        store.candles.cover("binance", "BTC/USDT", end_ms - MINUTES * MINUTE_MS, end_ms)
        assert store.predictions.add(sound_prediction)
        assert store.jobs.lease(OWNER, 0, 1_000, 5) is not None
        assert store.jobs.finish(sound_prediction.id, OWNER, proof, proved, end_ms)
    database.close()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE predictions SET status = 'confirmed'")
    return Sound(file, end_ms)


@pytest.fixture(scope="module")
def sound_prediction(ground: Ground) -> Prediction:
    end_ms, model_id = 1_757_937_600_000, ground.model.model_id
    return Prediction(
        id=prediction_id(FEED, end_ms, model_id),
        feed=FEED,
        window_end_ms=end_ms,
        model_id=model_id,
        status=Status.PREDICTED,
        failure=None,
        regime=Regime.LOW,
        p_high=0.5,
        vol_annualised=0.5,
        network_outputs=(0.0, 0.0, 0.0),
        observation=(0,) * 85,
        quorum=1,
        sources=Sources({"binance": "BTC/USDT"}, {}, as_of=1),
        candles_sha256="cd" * 32,
        predicted_at_ms=end_ms,
    )


@pytest.fixture
def database(sound: Sound, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound.file, tmp_path / "oracle.db"))


@pytest.fixture
def find(database: Path) -> Iterator[Callable[[Invariant], list[str]]]:
    engine = sa.create_engine(f"sqlite:///{database}", poolclass=sa.NullPool)

    def violations(invariant: Invariant) -> list[str]:
        with engine.connect() as connection:
            return invariant.violations(Look.at(connection))

    yield violations
    engine.dispose()


@pytest.fixture
def plant(database: Path) -> Callable[[str], None]:
    def execute(statement: str) -> None:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.executescript(statement)

    return execute


Find = Callable[[Invariant], list[str]]
Plant = Callable[[str], None]


def of_candles() -> NoCandleLost:
    return NoCandleLost(SEED, list, apart=replace(AT_ONCE), wrong=replace(AT_ONCE))


def of_jobs() -> NoJobStuck:
    return NoJobStuck(lapsed_s=-1.0, queued_s=3600.0)


def test_sound_database__breaks_no_invariant(find: Find, ground: Ground, sound: Sound) -> None:
    on_chain = ConfirmedIsOnChain(lambda: [sound.round], apart=replace(AT_ONCE))
    invariants = (OnePredictionPerWindow(), of_jobs(), NoEventMissing(), EveryProofVerifies(ground), of_candles())
    assert [words for one in (*invariants, on_chain) for words in find(one)] == []


def test_second_prediction_of_a_window__is_found(find: Find, plant: Plant) -> None:
    plant(
        "CREATE TABLE kept AS SELECT * FROM predictions; DROP TABLE predictions; "
        "CREATE TABLE predictions AS SELECT * FROM kept; INSERT INTO predictions SELECT * FROM kept;"
    )
    assert any("two predictions" in words for words in find(OnePredictionPerWindow()))


def test_prediction_that_was_there_and_is_gone__is_found(find: Find, plant: Plant) -> None:
    invariant = OnePredictionPerWindow()
    assert find(invariant) == []
    plant("DELETE FROM predictions")
    assert any("is gone" in words for words in find(invariant))


def test_job_whose_lease_lapsed_and_that_nobody_takes_up__is_found(find: Find, plant: Plant) -> None:
    plant(
        "UPDATE predictions SET status = 'proving'; DELETE FROM proofs; "
        "UPDATE proof_jobs SET state = 'leased', owner = 'gone:1', wait_until_ms = 1"
    )
    assert any("nobody took it up" in words for words in find(of_jobs()))


def test_job_that_waits_for_longer_than_anything_may__is_found(find: Find, plant: Plant) -> None:
    plant("UPDATE predictions SET status = 'predicted'; DELETE FROM proofs; UPDATE proof_jobs SET state = 'queued'")
    assert any("is stuck" in words for words in find(NoJobStuck(queued_s=-1.0)))


def test_prediction_without_a_job__is_found(find: Find, plant: Plant) -> None:
    plant("DELETE FROM proof_jobs")
    assert any("its job None" in words for words in find(of_jobs()))


def test_event_number_that_is_missing__is_found(find: Find, plant: Plant) -> None:
    plant("UPDATE events SET seq = seq + 1 WHERE seq = (SELECT max(seq) FROM events)")
    assert any("1 missing" in words for words in find(NoEventMissing()))


def test_event_that_was_told_twice__is_found(find: Find, plant: Plant) -> None:
    plant(
        "INSERT INTO events SELECT (SELECT max(seq) + 1 FROM events), kind, feed, prediction_id, data, at_ms "
        "FROM events WHERE kind = 'proof'"
    )
    assert any("2 proof events" in words for words in find(NoEventMissing()))


@pytest.mark.parametrize("byte", [1, 64, 700])
def test_proof_with_a_wrong_byte__is_found(byte: int, find: Find, plant: Plant, ground: Ground) -> None:
    plant(
        f"UPDATE proofs SET proof = CAST(substr(proof, 1, {byte} - 1) || "
        f"CASE WHEN substr(proof, {byte}, 1) = x'00' THEN x'01' ELSE x'00' END || substr(proof, {byte} + 1) AS BLOB)"
    )
    assert any("does not verify" in words for words in find(EveryProofVerifies(ground)))


def test_proof_of_another_observation__is_found(find: Find, plant: Plant, ground: Ground) -> None:
    plant("UPDATE predictions SET observation = replace(observation, '[0', '[1')")
    assert any("its commitment" in words for words in find(EveryProofVerifies(ground)))


def test_number_that_is_not_the_proved_one__is_found(find: Find, plant: Plant, ground: Ground) -> None:
    plant("UPDATE predictions SET vol_annualised = vol_annualised * 1.001")
    assert any("other numbers" in words for words in find(EveryProofVerifies(ground)))


def test_proved_row_without_a_proof__is_found(find: Find, plant: Plant, ground: Ground) -> None:
    plant("DELETE FROM proofs")
    assert any("has no proof" in words for words in find(EveryProofVerifies(ground)))


def test_confirmed_row_without_a_round__is_found(find: Find) -> None:
    invariant = ConfirmedIsOnChain(list, apart=replace(AT_ONCE))
    assert any("not on the chain" in words for words in find(invariant))


def test_round_of_which_the_database_knows_nothing__is_found(find: Find, sound: Sound) -> None:
    other = replace(sound.round, window_end_ms=sound.window_end_ms + MINUTE_MS)
    invariant = ConfirmedIsOnChain(lambda: [sound.round, other], apart=replace(AT_ONCE))
    assert any("and not confirmed" in words for words in find(invariant))


def test_window_that_was_published_twice__is_found(find: Find, sound: Sound) -> None:
    invariant = ConfirmedIsOnChain(lambda: [sound.round, sound.round], apart=replace(AT_ONCE))
    assert any("published 2 times" in words for words in find(invariant))


def test_minute_that_is_missing__is_found(find: Find, plant: Plant) -> None:
    plant("DELETE FROM candles WHERE open_time_ms = (SELECT max(open_time_ms) - 60000 FROM candles)")
    assert any("has no candle" in words for words in find(of_candles()))


def test_candle_that_was_there_and_is_gone__is_found(find: Find, plant: Plant) -> None:
    invariant = of_candles()
    assert find(invariant) == []
    plant("DELETE FROM candles WHERE open_time_ms = (SELECT min(open_time_ms) FROM candles)")
    assert any("are gone" in words for words in find(invariant))


def test_candle_with_a_price_that_the_venue_never_showed__is_found(find: Find, plant: Plant) -> None:
    plant("UPDATE candles SET close = close + 0.01 WHERE open_time_ms = (SELECT max(open_time_ms) FROM candles)")
    assert any("is not its own" in words for words in find(of_candles()))
