"""``veriregime db …``: the database and its schema, its copies, and what is forgotten of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.terminal import JsonFlag, examples, print_json, read_settings

if TYPE_CHECKING:
    from app.settings import Settings
    from app.store.backup import Copied
    from app.store.contents import Contents
    from app.store.database import Database

db = typer.Typer(
    help="Look at the database, upgrade, back up, restore and prune it.",
    no_args_is_help=True,
    epilog=examples(
        "veriregime db status",
        "veriregime db backup veriregime-2026-01-31.db",
        "VERIREGIME_DATABASE_URL=postgresql+psycopg://… veriregime db restore veriregime-2026-01-31.db",
        "veriregime db prune --dry-run",
    ),
)


@db.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Schema revision.")] = "head",
    as_json: JsonFlag = False,
) -> None:
    """Bring the database to the newest schema, or to the one named, all of the way or not at all.

    Every role does the same at its start. Take a copy first: `veriregime db backup`.
    """
    with _opened("db upgrade") as (database, say):
        before, newest = database.revisions()
        say(f"from schema {before} to {newest if revision == 'head' else revision}")
        database.upgrade(revision)
        _tell_schema(database, before, as_json)


@db.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="Schema revision, as the changelog names it for each version.")],
    as_json: JsonFlag = False,
) -> None:
    """Bring the database back to the schema of a former version. Stop every process first, and take a copy.

    What the older schema cannot tell is lost.
    """
    with _opened("db downgrade") as (database, say), database.claim(*_WORKING, by="db downgrade"):
        before, _ = database.revisions()
        say(f"from schema {before} to {revision}")
        database.downgrade(revision)
        _tell_schema(database, before, as_json)


@db.command()
def status(as_json: JsonFlag = False) -> None:
    """Show engine, schema, size, rows and retention. Exit code 1 when there is no database, or an old schema."""
    from app.store.contents import contents

    with _opened("db status") as (database, say):
        current, newest = database.revisions()
        say("counting rows")
        found = contents(database) if current is not None else None
        facts = _facts(database, read_settings(), found) | {"schema": current, "newest": newest}
        known = database.knows(current)
    facts["current"] = current == newest
    if as_json:
        print_json(facts)
    else:
        print("\n".join(_lines(facts, known)))
    if current != newest:
        raise typer.Exit(1)


@db.command()
def backup(
    file: Annotated[Path, typer.Argument(help="SQLite file to write; it must not be there yet.")],
    as_json: JsonFlag = False,
) -> None:
    """Copy the whole database into one SQLite file, as it is at one moment, while everything goes on."""
    from app.store.backup import back_up

    with _opened("db backup") as (database, say):
        _tell_copied(file, back_up(database, file, say), as_json)


@db.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `db backup` wrote.")],
    as_json: JsonFlag = False,
) -> None:
    """Bring a backup into a database without rows, of either engine, and to the newest schema.

    So it is also the way from SQLite to PostgreSQL and back.
    """
    from app.store.backup import restore as bring_back

    with _opened("db restore") as (database, say):
        _tell_copied(file, bring_back(database, file, say), as_json)


@db.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")] = False,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Give the room back to the disk. SQLite only: nobody writes meanwhile.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete candles, events and predictions past their retention, as a running pipeline does every hour.

    Outcomes stay: the track record loses nothing.
    """
    with _opened("db prune") as (database, say):
        gone = _prune(database, read_settings(), dry_run, say)
        if vacuum and not dry_run and database.file:
            say("giving room back")
            database.vacuum()
    if as_json:
        print_json({"database": database.name, "dry_run": dry_run, **gone})
    else:
        what = ", ".join(f"{rows:,} {name}" for name, rows in gone.items())
        print(f"{'would delete' if dry_run else 'deleted'} {what}")


_WORKING = ("pipeline", "prover", "submitter")


@contextmanager
def _opened(subject: str) -> Iterator[tuple[Database, Callable[[str], None]]]:
    """The database of the settings, and what to call with every step."""
    from app.progress import watched
    from app.wiring import open_database

    with closing(open_database(read_settings())) as database, watched(subject) as say:
        yield database, say


def _prune(database: Database, settings: Settings, dry_run: bool, say: Callable[[str], None]) -> dict[str, int]:
    from app.clock import wall_ms
    from app.store import contents, retention
    from app.types import DAY_MS

    def before_ms(days: int) -> int:
        return wall_ms() - days * DAY_MS

    candles_ms, events_ms = before_ms(settings.candle_retention_days), before_ms(settings.event_retention_days)
    # Without a retention everything is younger than the oldest there could be.
    predictions_ms = before_ms(settings.prediction_retention_days) if settings.prediction_retention_days else 0
    if dry_run:
        return {
            "candles": contents.old_candles(database, candles_ms),
            "events": contents.old_events(database, events_ms),
            "predictions": retention.old_predictions(database, predictions_ms),
        }
    say("candles and events")
    gone = {
        "candles": retention.prune_candles(database, candles_ms),
        "events": retention.prune_events(database, events_ms),
    }
    return gone | {
        "predictions": retention.prune_predictions(database, predictions_ms, lambda done: say(f"{done:,} predictions"))
    }


def _facts(database: Database, settings: Settings, found: Contents | None) -> dict[str, Any]:
    from app.types import iso

    def time(at_ms: int | None) -> str | None:
        return None if at_ms is None else iso(at_ms)

    return {
        "database": database.name,
        "engine": database.engine,
        "size_bytes": found.size_bytes if found else None,
        "rows": dict(found.rows) if found else {},
        "oldest_window": time(found.oldest_window_ms) if found else None,
        "newest_window": time(found.newest_window_ms) if found else None,
        "retention_days": {
            "candles": settings.candle_retention_days,
            "events": settings.event_retention_days,
            "predictions": settings.prediction_retention_days,
        },
    }


def _lines(facts: dict[str, Any], known: bool) -> Iterator[str]:
    yield f"{facts['database']}: schema {facts['schema']}, newest {facts['newest']}"
    if facts["schema"] is None:
        yield "there is no database yet: `veriregime db upgrade` makes it, and so does `veriregime serve`"
        return
    if not known:
        yield "a newer version wrote it: this one cannot use it"
    elif not facts["current"]:
        yield "an older version wrote it: `veriregime db upgrade`, after `veriregime db backup FILE`"
    yield f"  {facts['engine']}, {facts['size_bytes'] / 2**20:,.1f} MiB"
    yield f"  windows from {facts['oldest_window'] or '-'} to {facts['newest_window'] or '-'}"
    kept = facts["retention_days"]
    yield "  kept: " + ", ".join(f"{name} {f'{days} days' if days else 'for ever'}" for name, days in kept.items())
    for name, rows in sorted(facts["rows"].items()):
        yield f"  {name:20}{rows:>14,}"


def _tell_schema(database: Database, before: str | None, as_json: bool) -> None:
    current, newest = database.revisions()
    if as_json:
        print_json({"database": database.name, "before": before, "schema": current, "newest": newest})
    else:
        print(f"{database.name}: schema {current}")


def _tell_copied(file: Path, copied: Copied, as_json: bool) -> None:
    if as_json:
        facts = {"file": str(file), "schema": copied.schema, "rows": dict(copied.rows), "bytes": copied.file_bytes}
        print_json(facts)
    else:
        print(f"{file}: schema {copied.schema}, {sum(copied.rows.values()):,} rows, {copied.file_bytes:,} bytes")
