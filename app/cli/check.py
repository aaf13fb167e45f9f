"""``veriregime check`` and ``version``: what is here, and what there is to mend."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from app.cli.terminal import JsonFlag, print_json, read_settings

if TYPE_CHECKING:
    from rich.console import Console

    from app.check import Finding

_SIGNS = {"ok": ("green", "✓"), "note": ("dim", "·"), "warning": ("yellow", "!"), "failed": ("bold red", "✗")}


def check(as_json: JsonFlag = False) -> None:
    """Look over the installation: what is wrong, and what to do.

    Asks venues, chain, attesters and database at once and makes a proof, in fifteen seconds at most; nothing is built
    or sent. Exit code 1 when something is wrong without which the service does not run; what is only out of reach is a
    warning.
    """
    from app.check import Level, check_installation
    from app.cli.settings import dotenv_values
    from app.cli.settings_table import unknown_settings
    from app.progress import watched

    settings = read_settings()
    with watched("check") as say:
        say("asking everything at once")
        findings = check_installation(settings, unknown_settings(os.environ, dotenv_values()))
    if as_json:
        names = ("subject", "level", "detail", "remedy")
        print_json([{name: asdict(one)[name] for name in names} for one in findings])
    else:
        _print(findings)
    if any(one.level is Level.FAILED for one in findings):
        raise typer.Exit(1)


def version(as_json: JsonFlag = False) -> None:
    """Show the versions that a report of an error should name."""
    from importlib.metadata import version as installed

    from app import __version__

    found = {"veriregime": __version__, "python": platform.python_version(), "platform": platform.platform()}
    found |= {name: installed(name) for name in ("ezkl", "onnxruntime", "ccxt", "web3")}
    if as_json:
        print_json(found)
    else:
        print("\n".join(f"{name:12}{value}" for name, value in found.items()))


def verdict(findings: Sequence[Finding]) -> str:
    """The last line: whether it runs, and how many things there are to mend."""
    failed, ill = (sum(one.level == level for one in findings) for level in ("failed", "warning"))
    if not failed and not ill:
        return "ready"
    things = f"{failed + ill} thing{'s' * (failed + ill != 1)} to mend"
    return f"not ready: {things}, {failed} of them first" if failed else f"ready, with {things}"


def _print(findings: Sequence[Finding]) -> None:
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        _draw(findings, console)
    else:
        width = max(len(one.subject) for one in findings)
        for one in findings:
            print(f"{one.level:8} {one.subject:{width}} {one.detail}{f' -> {one.remedy}' if one.remedy else ''}")
        print(verdict(findings))


def _draw(findings: Sequence[Finding], console: Console) -> None:
    """A heading for each group; a remedy stands under what it is for."""
    from rich.table import Table
    from rich.text import Text

    for group in dict.fromkeys(one.group for one in findings):
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(width=max(len(one.subject) for one in findings))
        table.add_column(overflow="fold")
        for one in (one for one in findings if one.group == group):
            style, sign = _SIGNS[one.level]
            words = Text(one.detail, style="" if one.level != "note" else "dim")
            if one.remedy:
                words.append(f"\n→ {one.remedy}", style=style)
            table.add_row(Text(sign, style=style), one.subject, words)
        console.print(Text(group, style="bold"))
        console.print(table)
        console.print()
    style = max(findings, key=lambda one: list(_SIGNS).index(one.level)).level
    console.print(Text(verdict(findings), style=f"bold {_SIGNS[style][0]}"))
