"""The only transaction edge: ``with database.unit_of_work() as store``. SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import SchemaUnknown, StoreUnavailable
from app.store.engine import file_of, open_engine
from app.store.exclusive import claimed
from app.store.failures import told
from app.store.repository import Store
from app.store.soundness import refuse_damage

_ONE_LOOK = {"veriregime_write": False}
_ONE_LOOK_OF_POSTGRESQL = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class Database:
    """One engine. Opening it touches nothing: `upgrade` makes an SQLite file and the schema."""

    def __init__(self, url: str, migrations: Path) -> None:
        try:
            self._url = sa.make_url(url)
        except (SQLAlchemyError, ValueError):
            raise StoreUnavailable("VERIREGIME_DATABASE_URL is not a database URL") from None
        self._migrations = migrations
        self._may_make = False
        self._engine = open_engine(self._url, lambda: self._may_make)
        self._on_events: list[Callable[[], None]] = []

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def engine(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._url.get_backend_name()

    @property
    def file(self) -> Path | None:
        """Of an SQLite database that is not in memory."""
        return file_of(self._url)

    @property
    def is_there(self) -> bool:
        """False for an SQLite file that nobody has made yet. Whether a server answers is not asked."""
        return self.file is None or self.file.exists()

    @contextmanager
    def unit_of_work(self, *, write: bool = True, durable: bool = False) -> Iterator[Store]:
        """A transaction: committed when the block ends, rolled back when it raises.

        A ``durable`` one is on the disk by then, also on SQLite: for what must not be done twice after a power cut.
        Raises `StoreUnavailable` when the database cannot be reached or stays locked.
        """
        with self._transaction(veriregime_write=write, veriregime_durable=durable) as connection:
            store = Store(connection)
            yield store
            events = store.events.write(time.time_ns() // 1_000_000) if write else 0
        if events:
            for call in self._on_events:
                call()

    def on_events(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have ``call`` called, by whichever thread it was, after each commit of this process that wrote events.

        Gives what ends that. Other processes' events are not heard of: look for those now and then.
        """
        self._on_events.append(call)
        return lambda: self._on_events.remove(call)

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to ``revision``, all of the way or not at all. Safe to call at every start.

        Raises `SchemaUnknown` where a newer version wrote it, and `StoreUnavailable` where an SQLite file is damaged:
        nothing is written then.
        """
        if self.file:
            refuse_damage(self.file)
        self._may_make = True
        try:
            with self._migrating() as config:
                command.upgrade(config, revision)
        finally:
            self._may_make = False

    def downgrade(self, revision: str) -> None:
        """Back to ``revision``, all of the way or not at all. What the older schema cannot tell is lost."""
        with self._migrating() as config:
            command.downgrade(config, revision)

    def revisions(self) -> tuple[str | None, str | None]:
        """The schema's revision and the newest one there is. An SQLite file is not made."""
        head = self._known().get_current_head()
        return (self._revision() if self.is_there else None), head

    def knows(self, revision: str | None) -> bool:
        """Whether a schema is one that this version, or one before it, has written."""
        return revision is None or revision in {one.revision for one in self._known().walk_revisions()}

    @contextmanager
    def claim(self, *roles: str, by: str | None = None) -> Iterator[None]:
        """Be the only process with these roles on an SQLite file while the block runs; ``by`` is told to others.

        Raises `StoreInUse` when another process has one of them. Any number may work on PostgreSQL.
        """
        with claimed(self.file, roles, by or roles[0]) if self.file else nullcontext():
            yield

    @contextmanager
    def one_look(self) -> Iterator[sa.Connection]:
        """For `app.store.backup`: everything as it is at one moment, however long reading it takes."""
        with self._transaction(**_ONE_LOOK, **self._of_postgresql(_ONE_LOOK_OF_POSTGRESQL)) as connection:
            if self.engine == "postgresql":
                connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            yield connection

    @contextmanager
    def one_write(self) -> Iterator[sa.Connection]:
        """For `app.store.backup`: a transaction around the tables themselves."""
        with self._transaction() as connection:
            yield connection

    def beside(self, file: Path) -> Database:
        """Another database, in an SQLite file, with the same migrations."""
        return Database(str(sa.URL.create("sqlite", database=str(file))), self._migrations)

    def vacuum(self) -> None:
        """Give room that deleted rows have left back to the disk. SQLite only: nobody writes meanwhile."""
        with self._translated(), self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM")

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self, **options: Any) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    def _of_postgresql(self, options: dict[str, Any]) -> dict[str, Any]:
        return options if self.engine == "postgresql" else {}

    def _revision(self) -> str | None:
        with self._transaction(**_ONE_LOOK) as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def _config(self) -> Config:
        config = Config()
        config.set_main_option("script_location", str(self._migrations).replace("%", "%%"))
        config.attributes["engine"] = self._engine
        return config

    def _known(self) -> ScriptDirectory:
        return ScriptDirectory.from_config(self._config())

    @contextmanager
    def _migrating(self) -> Iterator[Config]:
        current = self._revision()
        if not self.knows(current):
            raise SchemaUnknown(
                f"the database {self.name} has schema {current}, which this version does not know: "
                "run the newer version that wrote it, or restore a backup that is older"
            )
        with self._translated():
            yield self._config()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What the driver raises becomes `StoreUnavailable`, but for a broken constraint."""
        try:
            yield
        except DBAPIError as error:
            if isinstance(error, sa.exc.IntegrityError):
                raise
            raise self._unusable(error.orig or error) from error
        except PoolTimeout as error:
            raise self._unusable(error) from error

    def _unusable(self, error: BaseException) -> StoreUnavailable:
        reason, password = told(error), self._url.password
        return StoreUnavailable(
            f"the database {self.name} cannot be used: {reason.replace(password, '***') if password else reason}"
        )
