"""``veriregime settings``: every setting there is, and how each stands here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.terminal import JsonFlag, print_json, read_settings, say

if TYPE_CHECKING:
    from rich.table import Table

    from app.cli.settings_table import Current, Setting


def settings(
    current: Annotated[
        bool, typer.Option("--current", help="What is in force here and where it comes from, without the secrets.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The table as Markdown: docs/settings.md.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List every setting, or what is in force here.

    Each with its default, form and meaning. With --current: the value that is in force and where it was set
    (environment, .env, a file). Secrets are never shown, only that they are there.
    """
    from app.cli.settings_table import as_markdown, settings_table

    if markdown and (current or as_json):
        raise typer.BadParameter("--markdown stands alone")
    if current:
        _show_current(as_json)
    elif as_json:
        print_json([asdict(one) for one in settings_table()])
    elif markdown:
        print(as_markdown(settings_table()), end="")
    else:
        _print(_table(settings_table()))


def _show_current(as_json: bool) -> None:
    from app.cli.settings_table import current_settings, unknown_settings

    read, dotenv = read_settings(), dotenv_values()
    found = current_settings(read, os.environ, dotenv)
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        _print(_current_table(found))
    for name in unknown_settings(os.environ, dotenv):
        say(f"veriregime: {name} is set, and no setting has this name: see `veriregime settings`")


def dotenv_values() -> dict[str, str | None]:
    """What the ``.env`` file of this folder sets, if there is one."""
    from dotenv import dotenv_values as read

    return dict(read(".env"))


def _table(table: Sequence[Setting]) -> Table:
    return _grid(("setting", "default", "form", "what it does"), _grouped(table))


def _grouped(table: Sequence[Setting]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for number, one in enumerate(table):
        if not number or table[number - 1].group != one.group:
            rows.append((one.group,))
        rows.append((one.name, one.default, one.form.replace("`", ""), one.description.replace("`", "")))
    return rows


def _current_table(found: Sequence[Current]) -> Table:
    return _grid(("setting", "value", "from"), [(one.name, one.value, one.source) for one in found])


def _grid(heads: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
    """A row of one cell is a heading; a default that nobody changed is dimmed."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, head in enumerate(heads):
        table.add_column(head, no_wrap=number == 0, overflow="fold")
    for row in rows:
        if len(row) == 1:
            table.add_row()
            table.add_row(Text(row[0], style="bold cyan"))
        else:
            table.add_row(*(Text(cell) for cell in row), style="dim" if row[-1] == "default" else "")
    return table


def _print(table: Table) -> None:
    """Into a file or a pipe as wide as it is: lines that are broken at 80 columns cannot be searched."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console()
    if not console.is_terminal:
        console = Console(width=Measurement.get(console, console.options.update(max_width=10_000), table).maximum)
    console.print(table)
