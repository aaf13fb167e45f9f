"""One forecast taken all the way, once per run: simulated market, real proof, real chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.audit.bundle import Bundle
from app.demo import MarketOptions, demo_application
from app.once import attest, confirm, prove
from app.settings import Settings
from app.types import Prediction
from app.web.reading import Reader
from app.wiring import Application


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An installation of its own; its keys are built once."""
    var = tmp_path_factory.mktemp("var")
    return Settings(_env_file=None, var_dir=var, port=0, feeds=("btc-usdt-4h",))  # type: ignore[call-arg]


@pytest.fixture(scope="session")
def app(settings: Settings) -> Iterator[Application]:
    """The whole system, not ticking by itself."""
    with demo_application(settings, MarketOptions(seed=7)) as wired:
        yield wired


@pytest.fixture(scope="session")
def confirmed(app: Application) -> Prediction:
    """A prediction whose proof two of three attesters signed for and the oracle on anvil accepted."""
    prediction, added = app.pipeline.forecast("btc-usdt-4h", app.clock.last_minute_ms())
    assert added
    prove(app, prediction.id)
    attest(app)
    confirm(app)
    with app.database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def bundle(app: Application, confirmed: Prediction) -> Bundle:
    return Reader(app).bundle(confirmed.id)


@pytest.fixture
def scratch_settings(settings: Settings, tmp_path: Path) -> Settings:
    """The keys of this run, but a database of the test's own, and one venue."""
    own = {"database_url": SecretStr(f"sqlite:///{tmp_path / 'veriregime.db'}"), "venues": ("binance",)}
    return settings.model_copy(update=own)
