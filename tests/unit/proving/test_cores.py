from __future__ import annotations

from pathlib import Path

import pytest

from app.proving.cores import threads_each, usable_cores


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))


@pytest.fixture
def cpu_max(tmp_path: Path) -> Path:
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("max 100000\n", 8),
        ("400000 100000\n", 4),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("300000 50000", 6),
        ("", 8),
        ("400000\n", 8),
        ("four cores\n", 8),
        ("400000 0\n", 8),
    ],
    ids=[
        "no quota",
        "four",
        "one and a half",
        "half",
        "more than there are",
        "another period",
        "empty",
        "one number",
        "words",
        "no period",
    ],
)
def test_usable_cores__by_the_containers_quota(cpu_max: Path, content: str, cores: int) -> None:
    cpu_max.write_text(content)
    assert usable_cores(cpu_max) == cores


def test_usable_cores__without_a_quota_file__are_those_of_the_process(cpu_max: Path) -> None:
    assert usable_cores(cpu_max) == 8


def test_usable_cores__bytes_that_are_no_text__are_those_of_the_process(cpu_max: Path) -> None:
    cpu_max.write_bytes(b"\xff\xfe 1")
    assert usable_cores(cpu_max) == 8


@pytest.mark.parametrize(("workers", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (9, 1)])
def test_threads_each__share_the_cores_evenly_and_are_at_least_one(cpu_max: Path, workers: int, threads: int) -> None:
    assert threads_each(workers, cpu_max) == threads
