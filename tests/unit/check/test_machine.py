"""What `check` says of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.check import machine
from app.check.finding import Level
from app.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, var_dir=tmp_path / "var")  # type: ignore[call-arg]


def test_spelling__of_an_unknown_setting__proposes_the_nearest(settings: Settings) -> None:
    (found,) = machine.spelling(["VERIREGIME_QOURUM"], 0, settings)
    assert (found.level, found.remedy) == (Level.WARNING, "write VERIREGIME_QUORUM")


def test_memory__less_than_the_provers_take__is_a_warning(settings: Settings) -> None:
    (found,) = machine.memory(settings.model_copy(update={"prover_workers": 10**6}))
    assert (found.level, "VERIREGIME_PROVER_WORKERS" in found.remedy) == (Level.WARNING, True)


def test_disk__leaves_nothing_behind(settings: Settings) -> None:
    (found,) = machine.disk(settings)
    assert found.level is not Level.FAILED or "room" in found.remedy
    assert list(settings.var_dir.iterdir()) == []


def test_tools__without_npm_packages__say_what_to_run(settings: Settings, tmp_path: Path) -> None:
    (found,) = machine.tools(settings.model_copy(update={"contracts_dir": tmp_path}))
    assert (found.level, "make setup" in found.remedy) == (Level.WARNING, True)


def test_tools__of_an_installed_package__are_not_missed(settings: Settings, tmp_path: Path) -> None:
    (found,) = machine.tools(settings.model_copy(update={"contracts_dir": tmp_path / "none"}))
    assert found.level is Level.NOTE
