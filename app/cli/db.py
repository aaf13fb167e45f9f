"""``veriregime db …``: the database and its schema."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from app.cli.terminal import JsonFlag, print_json, read_settings

db = typer.Typer(help="Look at the database's schema, and upgrade it.", no_args_is_help=True)


@db.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Schema revision.")] = "head",
    as_json: JsonFlag = False,
) -> None:
    """Bring the database to the newest schema, or to the one named.

    `serve` does the same at its start. Take a copy first: there is no way back but the copy.
    """
    from app.progress import watched
    from app.wiring import open_database

    with closing(open_database(read_settings())) as database, watched("db upgrade") as say:
        before, newest = database.revisions()
        say(f"from schema {before} to {newest if revision == 'head' else revision}")
        database.upgrade(revision)
        current, _ = database.revisions()
    if as_json:
        print_json({"database": database.name, "before": before, "schema": current, "newest": newest})
    else:
        print(f"{database.name}: schema {current}")


@db.command()
def status(as_json: JsonFlag = False) -> None:
    """Show the schema's revision. Exit code 1 when it is not the newest."""
    from app.wiring import open_database

    with closing(open_database(read_settings())) as database:
        current, newest = database.revisions()
    if as_json:
        print_json({"database": database.name, "schema": current, "newest": newest, "current": current == newest})
    else:
        print(f"{database.name}: schema {current}, newest {newest}")
    if current != newest:
        raise typer.Exit(1)
