"""SRS files on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from app.errors import SrsUnavailable
from app.proving.ceremony import CEREMONY_PTAU_BLAKE2B, SrsOrigin
from app.proving.srs import Srs, development_srs, find_srs, read_srs, serving_srs, write_record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("srs")
    development_srs(folder, 6)
    return folder


@pytest.fixture
def here(tmp_path: Path, folder: Path) -> Path:
    """A folder with a development SRS and two files from elsewhere, of the same size."""
    here = tmp_path / "here"
    shutil.copytree(folder, here)
    return here


def bring(tmp_path: Path, here: Path, name: str) -> Srs:
    """A sound SRS of another secret, kept under its hash."""
    foreign = development_srs(tmp_path / name, 6)
    return read_srs(shutil.copyfile(foreign.path, here / f"{foreign.sha256}.srs"))


def test_development_srs__is_made_once_and_says_what_it_is(folder: Path) -> None:
    first, again = development_srs(folder, 6), development_srs(folder, 6)
    assert first == again
    assert first.is_development
    assert first.logrows == 6
    assert sorted(path.name for path in folder.iterdir()) == ["dev-k6.sha256", "dev-k6.srs"]


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


def test_srs__that_no_longer_has_the_hash_in_its_name__is_refused(tmp_path: Path, here: Path) -> None:
    brought = bring(tmp_path, here, "foreign")
    raw = brought.path.read_bytes()
    brought.path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(SrsUnavailable, match="import it again"):
        read_srs(brought.path)


def test_development_srs__changed_since_it_was_made__is_refused(here: Path) -> None:
    path = here / "dev-k6.srs"
    raw = path.read_bytes()
    path.write_bytes(raw[:200] + bytes([raw[200] ^ 1]) + raw[201:])
    with pytest.raises(SrsUnavailable, match="was changed since it was made: put it back, or delete it"):
        serving_srs(here, 6)


def test_development_srs__deleted__is_made_anew_and_noted(here: Path) -> None:
    (here / "dev-k6.srs").unlink()
    (here / "dev-k6.sha256").unlink()
    assert development_srs(here, 6).sha256 == (here / "dev-k6.sha256").read_text().strip()


def test_find_srs__beside_a_damaged_file__finds_the_other(tmp_path: Path, here: Path) -> None:
    brought = bring(tmp_path, here, "foreign")
    (here / "dev-k6.srs").write_bytes(b"\x06\0\0\0short")
    assert find_srs(here, brought.sha256) == brought


def test_find_srs__that_is_damaged_itself__says_so(tmp_path: Path, here: Path) -> None:
    brought = bring(tmp_path, here, "foreign")
    brought.path.write_bytes(brought.path.read_bytes()[:-1])
    with pytest.raises(SrsUnavailable, match="cut short"):
        find_srs(here, brought.sha256)


def test_srs__of_unknown_origin__is_of_the_development_kind(tmp_path: Path, here: Path) -> None:
    assert bring(tmp_path, here, "foreign").origin is SrsOrigin.DEVELOPMENT


def test_srs__that_the_operator_trusts__is_no_development_srs(tmp_path: Path, here: Path) -> None:
    brought = bring(tmp_path, here, "foreign")
    assert read_srs(brought.path, (brought.sha256,)).origin is SrsOrigin.TRUSTED


def test_srs__converted_from_a_public_ceremony__is_known_by_the_note_beside_it(tmp_path: Path, here: Path) -> None:
    brought = bring(tmp_path, here, "foreign")
    write_record(here, brought.sha256, CEREMONY_PTAU_BLAKE2B[11], 11)
    assert read_srs(brought.path).origin is SrsOrigin.CEREMONY


@pytest.mark.parametrize("note", ["", "[]", "{}", json.dumps({"blake2b": None})])
def test_srs__with_a_note_that_says_nothing__is_of_unknown_origin(tmp_path: Path, here: Path, note: str) -> None:
    brought = bring(tmp_path, here, "foreign")
    (here / f"{brought.sha256}.json").write_text(note)
    assert read_srs(brought.path).origin is SrsOrigin.DEVELOPMENT


def test_serving_srs__where_there_is_none__is_made_for_development(tmp_path: Path) -> None:
    made = serving_srs(tmp_path / "new", 6)
    assert made.origin is SrsOrigin.DEVELOPMENT
    assert made.path.name == "dev-k6.srs"


def test_serving_srs__is_never_one_of_unknown_origin(tmp_path: Path, here: Path) -> None:
    bring(tmp_path, here, "foreign")
    assert serving_srs(here, 6).path.name == "dev-k6.srs"


def test_serving_srs__trusted__goes_before_development(tmp_path: Path, here: Path) -> None:
    brought = bring(tmp_path, here, "foreign")
    assert serving_srs(here, 6, (brought.sha256,)).sha256 == brought.sha256


def test_serving_srs__of_a_ceremony__goes_before_trusted(tmp_path: Path, here: Path) -> None:
    trusted, ceremony = bring(tmp_path, here, "one"), bring(tmp_path, here, "two")
    write_record(here, ceremony.sha256, CEREMONY_PTAU_BLAKE2B[11], 11)
    assert serving_srs(here, 6, (trusted.sha256,)).sha256 == ceremony.sha256


def test_serving_srs__of_another_size__is_not_taken(tmp_path: Path, here: Path) -> None:
    brought = bring(tmp_path, here, "foreign")
    found = serving_srs(here, 5, (brought.sha256,))
    assert (found.logrows, found.origin) == (5, SrsOrigin.DEVELOPMENT)


def test_serving_srs__one_of_unknown_origin_that_was_chosen__is_used_and_stays_a_development_one(
    tmp_path: Path,
) -> None:
    here = tmp_path / "srs"
    elsewhere = development_srs(tmp_path / "elsewhere", 6)
    development_srs(here, 6)
    (here / f"{elsewhere.sha256}.srs").write_bytes(elsewhere.path.read_bytes())
    chosen = serving_srs(here, 6, chosen=(elsewhere.sha256,))
    assert (chosen.sha256, chosen.is_development) == (elsewhere.sha256, True)
    assert serving_srs(here, 6).path.name == "dev-k6.srs"
