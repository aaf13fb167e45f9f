"""SRS files on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import SrsUnavailable
from app.proving.srs import development_srs, find_srs, read_srs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("srs")
    development_srs(folder, 6)
    return folder


def test_development_srs__is_made_once_and_says_what_it_is(folder: Path) -> None:
    first, again = development_srs(folder, 6), development_srs(folder, 6)
    assert first == again
    assert first.is_development
    assert first.logrows == 6
    assert [path.name for path in folder.iterdir()] == ["dev-k6.srs"]


def test_srs__is_found_by_its_hash(folder: Path) -> None:
    srs = development_srs(folder, 6)
    assert find_srs(folder, srs.sha256) == srs
    assert find_srs(folder, "0" * 64) is None


def test_srs__cut_short__is_refused(folder: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.srs"
    short.write_bytes(development_srs(folder, 6).path.read_bytes()[:-1])
    with pytest.raises(SrsUnavailable, match="cut short"):
        read_srs(short)


def test_srs__that_is_not_there__is_refused(tmp_path: Path) -> None:
    with pytest.raises(SrsUnavailable, match="cannot be read"):
        read_srs(tmp_path / "none.srs")
