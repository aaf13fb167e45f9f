"""Fixtures for every test. Unit tests have no network: a socket there is a bug."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pytest_socket import disable_socket, enable_socket
from xdist.scheduler import LoadScopeScheduling

import app.training  # noqa: F401  it decides how threads wait, before any test loads torch
from app.candles.venue import Page, Venue
from app.clock import Clock
from app.errors import VenueUnavailable
from app.features.variation import VariationSpec
from app.inference.network import Network
from app.inference.release import ReleasedModel, load_models
from app.metrics import Metrics
from app.steps.collect import Collector
from app.steps.fetch import Fetcher, FetchPolicy
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import (
    MINUTE_MS,
    Candles,
    Feed,
    Keys,
    ModelId,
    Prediction,
    PredictionId,
    Proof,
    Regime,
    Sources,
    Status,
    prediction_id,
)

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT.parent / "shared" / "data"
WINDOW_END_MS = 1_757_937_600_000  # 2025-09-15T12:00:00Z, a Monday


class TogetherByFolder(LoadScopeScheduling):
    """Where two processes share the tests, those that share what is costly to set up stay in one of them."""

    def _split_scope(self, nodeid: str) -> str:
        _, kind, *place = nodeid.partition("::")[0].split("/")
        folders = place[:-1]
        return "/".join([kind, *(folders if kind == "e2e" or (folders and kind == "integration") else place)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TogetherByFolder:
    return TogetherByFolder(config, log)


@pytest.fixture(autouse=True)
def _no_network_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    if "unit" in request.path.relative_to(ROOT / "tests").parts:
        disable_socket(allow_unix_socket=True)
        yield
        enable_socket()
    else:
        yield


@pytest.fixture(autouse=True)
def _no_log_handler_outlives_its_test() -> Iterator[None]:
    """A command that is run within a test logs to that test's standard error, which is closed afterwards."""
    root, app_level = logging.getLogger(), logging.getLogger("app").level
    before = root.handlers[:]
    yield
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler and handler not in before:
            root.removeHandler(handler)
    logging.getLogger("app").setLevel(app_level)


@pytest.fixture(scope="session")
def models() -> dict[str, ReleasedModel]:
    return load_models(ROOT / "models")


@pytest.fixture(scope="session")
def model(models: dict[str, ReleasedModel]) -> ReleasedModel:
    return models["btc-usdt-4h-v3"]


@pytest.fixture(scope="session")
def recorded_btc() -> Path:
    """Recorded candles that are not part of the project."""
    path = RECORDED / "btcusdt_1m_binance.parquet"
    if not path.is_file():
        pytest.skip(f"recorded candles are not at {path.parent}")
    return path


def make_candles(minutes: int, end_ms: int = WINDOW_END_MS, seed: int = 0, level: float = 100_000.0) -> Candles:
    """A random walk with volatility that changes from hour to hour; the last candle closes at ``end_ms``."""
    rng = np.random.default_rng(seed)
    sigma = np.repeat(0.0005 * np.exp(0.5 * rng.normal(size=minutes // 60 + 1)), 60)[:minutes]
    close = np.round(level * np.exp(np.cumsum(sigma * rng.normal(size=minutes))), 2)
    opened = np.append(level, close[:-1])
    return Candles(
        open_time_ms=end_ms - MINUTE_MS * np.arange(minutes, 0, -1, dtype=np.int64),
        open=opened,
        high=np.maximum(opened, close) + 0.5,
        low=np.minimum(opened, close) - 0.5,
        close=close,
        volume=np.round(rng.gamma(2.0, 5.0, size=minutes), 5),
    )


class ScriptedVenue:
    """A venue as the collector sees it: pages of its candles, with every question kept in ``asked``."""

    def __init__(self, candles: Candles, name: str = "binance", page_minutes: int = 1000) -> None:
        self.name = name
        self.candles = candles
        self.page_minutes = page_minutes
        self.asked: list[tuple[int, int]] = []
        self.hidden: set[int] = set()
        """Open times that it does not show."""
        self.shows_hidden_at_question: int | None = None
        self.fails_at_page: int | None = None
        self.error: Exception = VenueUnavailable("the exchange is down")
        self.told_ms: Callable[[], int] = self._no_time

    def _no_time(self) -> int:
        raise VenueUnavailable("it does not tell its time")

    def time_ms(self) -> int:
        return self.told_ms()

    def pages(self, symbol: str, start_ms: int, end_ms: int) -> Iterator[Page]:
        self.asked.append((start_ms, end_ms))
        if len(self.asked) == self.shows_hidden_at_question:
            self.hidden = set()
        for number, first_ms in enumerate(range(start_ms, end_ms, self.page_minutes * MINUTE_MS), start=1):
            if number == self.fails_at_page:
                raise self.error
            last_ms = min(first_ms + self.page_minutes * MINUTE_MS, end_ms)
            rows = [row for row in self.candles.between(first_ms, last_ms).rows() if row[0] not in self.hidden]
            yield Page(
                Candles.from_rows(rows),
                done=(last_ms - start_ms) // MINUTE_MS,
                total=(end_ms - start_ms) // MINUTE_MS,
            )


@pytest.fixture(name="make_candles")
def candle_maker() -> Callable[..., Candles]:
    return make_candles


@pytest.fixture
def window_end_ms() -> int:
    return WINDOW_END_MS


@pytest.fixture
def make_venue() -> type[ScriptedVenue]:
    return ScriptedVenue


@pytest.fixture
def make_prediction() -> Callable[..., Prediction]:
    """A stored form of a forecast; any field can be given, the id follows from them."""
    template = Prediction(
        id=PredictionId(""),
        feed="btc-usdt-4h",
        window_end_ms=WINDOW_END_MS,
        model_id=ModelId("ab" * 32),
        status=Status.PREDICTED,
        failure=None,
        regime=Regime.HIGH,
        p_high=0.1 + 0.2,
        vol_annualised=1 / 3,
        network_outputs=(-0.25, 0.1, -1.0986122886681098),
        observation=(-384, 0, 7, 384),
        quorum=2,
        sources=Sources({"binance": "BTC/USDT", "kraken": "BTC/USDT"}, {}, as_of=1),
        candles_sha256="cd" * 32,
        predicted_at_ms=WINDOW_END_MS + 1_234,
    )

    def make(**fields: Any) -> Prediction:
        made = replace(template, **fields)
        return replace(made, id=prediction_id(made.feed, made.window_end_ms, made.model_id))

    return make


@pytest.fixture
def make_proof() -> Callable[..., Proof]:
    """A proof in form only: nobody verifies it here."""
    template = Proof(
        proof=bytes(range(256)) * 8,
        instances=(-33_554_432, 13_421_773, -147_454_000),
        commitment=bytes(range(64)),
        vk_hash="12" * 32,
        srs_hash="34" * 32,
        witness_seconds=0.0125,
        prove_seconds=0.25,
        verify_seconds=0.0625,
    )

    def make(**fields: Any) -> Proof:
        return replace(template, **fields)

    return make


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the newest schema and nothing in it, to be copied: migrating anew for each test takes longer."""
    path = tmp_path_factory.mktemp("migrated") / "oracle.db"
    database = Database(f"sqlite:///{path}", ROOT / "migrations")
    database.upgrade()
    database.close()
    return path


@pytest.fixture
def sqlite_database(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copy(migrated_sqlite, tmp_path / "oracle.db")
    database = Database(f"sqlite:///{tmp_path / 'oracle.db'}", ROOT / "migrations")
    yield database
    database.close()


@pytest.fixture
def serve(model: ReleasedModel) -> Callable[..., ServedFeed]:
    """The feed of the released model around any venues; its keys are names of files that nobody opens."""
    nowhere = Path("/nonexistent")
    keys = Keys(
        circuit=model.circuit,
        srs=nowhere,
        srs_hash="34" * 32,
        srs_is_development=True,
        vk=nowhere,
        vk_hash="12" * 32,
        pk=nowhere,
        verifier_sol=nowhere,
    )

    def make(*venues: ScriptedVenue, quorum: int = 1) -> ServedFeed:
        return ServedFeed(
            feed=Feed(name="btc-usdt-4h", symbol="BTC/USDT"),
            model=model,
            spec=VariationSpec.from_manifest(model.manifest["observation"]),
            network=Network(model),
            keys=keys,
            markets={venue.name: "BTC/USDT" for venue in venues},
            quorum=quorum,
        )

    return make


@pytest.fixture
def collect_from(sqlite_database: Database, window_end_ms: int) -> Iterator[Callable[..., Collector]]:
    """A collector on scripted venues, with a fetcher at work for each. The clock stands a second after the window."""
    made: list[Collector] = []

    def make(*venues: ScriptedVenue, **options: Any) -> Collector:
        database = options.pop("database", sqlite_database)
        clock = options.pop("clock", Clock(market_start_ms=window_end_ms + 1_000, speed=0))
        metrics = options.pop("metrics", Metrics())
        progress = options.pop("progress", None)
        policy = FetchPolicy(late_candle_s=options.pop("late_candle_s", 0), max_skew_s=5)
        fetchers = {
            venue.name: Fetcher(cast(Venue, venue), database, clock, metrics, policy, progress) for venue in venues
        }
        for fetcher in fetchers.values():
            fetcher.start()
        own = {"straggler_s": 5.0, "retention_ms": 14 * 1440 * MINUTE_MS} | options
        made.append(Collector(fetchers, database, clock, metrics, **own))
        return made[-1]

    yield make
    for collector in made:
        collector.stop()
