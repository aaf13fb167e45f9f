"""Three attesters on the chain of this run: two watch the market of the service, the third watches another one."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.chain.anvil import ATTESTER_KEYS
from app.demo import MarketOptions, running_market, venue_urls
from app.features.variation import observe
from app.inference.network import dequantise, forecast_from
from app.settings import Settings
from app.store.database import Database
from app.types import MINUTE_MS, Prediction, Proof, Status, prediction_id
from app.web.attesting import create_attester_web
from app.web.server import address, listen, server
from app.wiring import Application, AttesterRole, attester

FEED = "btc-usdt-4h"
_numbers = itertools.count()


@dataclass(frozen=True)
class Running:
    role: AttesterRole
    url: str


@contextmanager
def serving(role: AttesterRole) -> Iterator[str]:
    """The attester's HTTP service in a thread of its own; gives its URL."""
    with listen("127.0.0.1", 0) as listener:
        ready = threading.Event()
        running = server(create_attester_web(role, ready.set))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(10)
        yield address(listener)
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def attester_settings(app: Application, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Settings of an attester with a database of its own, on the keys, market and chain of this run."""

    def make(key: int = 0, **fields: object) -> Settings:
        assert app.pipeline.target is not None
        folder = tmp_path_factory.mktemp("attester")
        own = {
            "database_url": SecretStr(f"sqlite:///{folder / 'veriregime.db'}"),
            "oracle_address": app.pipeline.target.oracle.contract,
            "attester_key": SecretStr(ATTESTER_KEYS[key]),
            "late_candle_s": 1.0,
        }
        return app.settings.model_copy(update=own | fields)

    return make


@pytest.fixture(scope="session")
def attesters(app: Application, attester_settings: Callable[..., Settings]) -> Iterator[list[Running]]:
    with ExitStack() as stack:
        elsewhere, _ = stack.enter_context(running_market(MarketOptions(seed=8)))
        shifted = {"venue_urls": venue_urls(elsewhere, app.settings.venues)}
        roles = [
            stack.enter_context(attester(attester_settings(key, **more), clock=app.clock))
            for key, more in enumerate(({}, {}, shifted))
        ]
        yield [Running(role, stack.enter_context(serving(role))) for role in roles]


@pytest.fixture
def service_database(tmp_path: Path) -> Iterator[Database]:
    """A service's database of the test's own."""
    database = Database(f"sqlite:///{tmp_path / 'service.db'}", Path(__file__).resolve().parents[3] / "migrations")
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def proved(app: Application, service_database: Database) -> tuple[Prediction, Proof]:
    """A real proof of a window that no test had before, in the service's database."""
    served = app.pipeline.feeds[FEED]
    end_ms = app.clock.last_minute_ms() - (next(_numbers) % 12) * MINUTE_MS
    collected = app.pipeline._collector.window(served, end_ms)
    observation = observe(collected.window, served.spec)
    proof = app.pool.prove(served.keys, observation.values)
    forecast = forecast_from(dequantise(proof.outputs, served.model.output_scale))
    prediction = Prediction(
        id=prediction_id(FEED, end_ms, served.model.model_id),
        feed=FEED,
        window_end_ms=end_ms,
        model_id=served.model.model_id,
        status=Status.PREDICTED,
        failure=None,
        regime=forecast.regime,
        p_high=forecast.p_high,
        vol_annualised=forecast.vol_annualised,
        network_outputs=forecast.outputs,
        observation=observation.values,
        quorum=observation.quorum,
        sources=collected.sources,
        candles_sha256=observation.candles_sha256,
        predicted_at_ms=time.time_ns() // 1_000_000,
    )
    with service_database.unit_of_work() as store:
        store.predictions.add(prediction)
        assert store.jobs.lease("test", 1, 35_000, 3)
        assert store.jobs.finish(prediction.id, "test", proof, forecast, end_ms)
    return prediction, proof
