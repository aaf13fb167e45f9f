from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch comes with the train extra")
import torch

from app.training.kept import KeptWork

IDENTITY: dict[str, Any] = {"candles": ["ab", None], "seed": 1, "plan": {"sizes": (4, 16)}}


@pytest.fixture
def work(tmp_path: Path) -> KeptWork:
    return KeptWork(tmp_path, "production", IDENTITY)


@pytest.fixture
def made() -> Iterator[int]:
    """Counts how often a stage was made."""
    return count(1)


def file_of(work: KeptWork, name: str) -> Path:
    return work.folder / f"{name}.pt"


def test_stage__asked_again__is_not_made_again(work: KeptWork, made: Iterator[int], tmp_path: Path) -> None:
    assert work.stage("one", lambda: next(made)) == 1
    assert work.stage("one", lambda: next(made)) == 1
    later = KeptWork(tmp_path, "production", IDENTITY)
    assert later.stage("one", lambda: next(made)) == 1
    assert later.stage("two", lambda: next(made)) == 2


def test_stage__record_and_tensors__come_back_as_they_were(work: KeptWork) -> None:
    tensor = torch.from_numpy(np.random.default_rng(1).normal(size=(50, 3)))
    work.save("outputs", {"ours": tensor, "row": {"loss": 0.1 + 0.2, "auc": None, "name": "α", "sizes": [4, 16]}})
    found = work.load("outputs")
    assert torch.equal(found["ours"], tensor)
    assert found["row"] == {"loss": 0.1 + 0.2, "auc": None, "name": "α", "sizes": [4, 16]}


def test_stage__interrupted__is_made_by_the_next_run(work: KeptWork, made: Iterator[int]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.stage("one", interrupted)
    assert work.stage("one", lambda: next(made)) == 1


GARBAGE = (
    b"",
    b"\0",
    b"\0" * 64,
    b"PK\x03\x04 half a zip",
    b"not a pickle at all\n" * 20,
    b"\x80\x02]q\x00(K\x01",
    b"\x80\x02X\x03\x00\x00\x00\xff\xfe\xfd.",
    b"\x80\x02cbuiltins\nprint\n.",
    b"\xff" * 200,
    b"\x80\x02.",
    b"\x80\x02a.",
    b"\x80\x02h\x07.",
)


@pytest.mark.parametrize("content", GARBAGE)
def test_stage__garbage_in_its_file__is_made_anew(work: KeptWork, made: Iterator[int], content: bytes) -> None:
    work.save("one", 99)
    file_of(work, "one").write_bytes(content)
    assert work.stage("one", lambda: next(made)) == 1
    assert work.load("one") == 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_stage__half_written_file__is_made_anew(work: KeptWork, made: Iterator[int], share: float) -> None:
    work.save("one", {"tensor": torch.arange(1000), "text": "x" * 100})
    whole = file_of(work, "one").read_bytes()
    file_of(work, "one").write_bytes(whole[: int(share * len(whole))])
    assert work.stage("one", lambda: next(made)) == 1


def test_load__code_in_a_file__is_never_run(work: KeptWork, tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    work.save("one", 1)
    torch.save(Harmful(), file_of(work, "one"))
    assert work.load("one") is None
    assert not (tmp_path / "touched").exists()


def test_save__interrupted_while_writing__leaves_the_value_before(
    work: KeptWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.save("one", 1)

    def half(_: Any, path: Path) -> None:
        path.write_bytes(b"PK half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        work.save("one", 2)
    assert work.load("one") == 1


def test_finish__complete_run__leaves_nothing(work: KeptWork, tmp_path: Path) -> None:
    work.save("one", 1)
    work.save("two", 2)
    work.finish()
    assert list(tmp_path.iterdir()) == []
    work.finish()


def test_drop__a_value__is_forgotten(work: KeptWork) -> None:
    work.save("one", 1)
    work.drop("one")
    work.drop("never kept")
    assert work.load("one") is None


def test_resumed__only_with_something_to_go_on_with(work: KeptWork, tmp_path: Path) -> None:
    assert not work.resumed
    work.save("one", 1)
    assert KeptWork(tmp_path, "production", IDENTITY).resumed
    assert not KeptWork(tmp_path, "production", {**IDENTITY, "seed": 2}).resumed


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"candles": ["ab", "cd"]}, {"plan": {"sizes": (4, 18)}}, {"classic": None}]
)
def test_folder__anything_that_decides_the_result__changes_it(
    work: KeptWork, tmp_path: Path, change: dict[str, Any]
) -> None:
    assert KeptWork(tmp_path, "production", {**IDENTITY, **change}).folder != work.folder
    assert KeptWork(tmp_path, "classic", IDENTITY).folder != work.folder


def test_folder__order_of_keys__does_not_matter(work: KeptWork, tmp_path: Path) -> None:
    assert KeptWork(tmp_path, "production", dict(reversed(IDENTITY.items()))).folder == work.folder
