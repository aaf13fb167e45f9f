"""Text and tables of the reports and the model card: paragraphs filled to one width, numbers written one way."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 120
NOTHING = "–"
"""Stands for a number that does not exist, such as the AUC of a month of one class."""


def reflowed(text: str) -> str:
    """Paragraphs and list items filled to `WIDTH`; headings, tables and images stay as they are.

    Blocks are what empty lines separate; an item of a list begins with an asterisk.
    """
    blocks = [block.strip() for block in text.split("\n\n")]
    return "\n\n".join(_filled(block) for block in blocks if block) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One line for each row; raises `ValueError` for a row of another length than the head."""
    if any(len(row) != len(head) for row in rows):
        raise ValueError("a row of a table has another length than its head")
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("|  |", "| |")


def percent(value: float | None, digits: int = 2) -> str:
    """A share of one, as in ``84.07 %``."""
    return NOTHING if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 4) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def listed(words: Sequence[str]) -> str:
    """As in ``a, b and c``; raises `IndexError` for no words."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def counted(count: int, thing: str, things: str | None = None) -> str:
    """As in ``1 month`` and ``2,500 months``; ``things`` where the plural is not a mere s."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"


def _filled(block: str) -> str:
    if block.startswith(("#", "|", "![")):
        return block
    if block.startswith("* "):
        return "\n".join(_wrapped(item, "* ", "  ") for item in block.removeprefix("* ").split("\n* "))
    return _wrapped(block)


def _wrapped(text: str, first: str = "", then: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()),
        WIDTH,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
