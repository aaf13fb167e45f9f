"""The upgrade notes against the migrations and the version that there are."""

from __future__ import annotations

import re
from pathlib import Path

from app import __version__

ROOT = Path(__file__).resolve().parents[3]


def test_upgrading__names_the_schema_of_this_version() -> None:
    newest = max(path.name.partition("_")[0] for path in (ROOT / "migrations/versions").glob("[0-9]*.py"))
    rows = dict(
        re.findall(r"^\| (\d+\.\d+\.\d+) \| (\d{4}) \|", (ROOT / "docs/upgrading.md").read_text(), re.MULTILINE)
    )
    assert rows.get(__version__) == newest
