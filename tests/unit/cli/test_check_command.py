"""What `veriregime check` makes of findings."""

from __future__ import annotations

import pytest

from app.check import Finding, Level
from app.cli.check import verdict


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ((Level.OK, Level.NOTE), "ready"),
        ((Level.OK, Level.WARNING), "ready, with 1 thing to mend"),
        ((Level.FAILED, Level.WARNING, Level.WARNING), "not ready: 3 things to mend, 1 of them first"),
    ],
)
def test_verdict__counts_what_there_is_to_mend(levels: tuple[Level, ...], words: str) -> None:
    assert verdict([Finding("any", level, "any") for level in levels]) == words
