"""The short form: a dozen seeded faults against `serve` on SQLite, within a minute."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.driving import HELD, Drive, Result
from tests.chaos.invariants.watch import Watch
from tests.chaos.run import SHED_SOON, cast_of
from tests.chaos.schedule import schedule
from tests.rig.ground import Ground
from tests.rig.rig import ALONE, RigOptions, rig

SEED = 11
FAULTS = 12
LIMIT_S = 35.0
LEAST_PLAYED = 6


@pytest.mark.chaos
def test_service_under_a_dozen_faults__holds_every_invariant_and_leaves_nothing(ground: Ground, tmp_path: Path) -> None:
    options = RigOptions("short", "sqlite", ALONE, seed=SEED, settings=SHED_SOON)
    planned = schedule(SEED, FAULTS, cast_of(options), long=False)
    told: list[Result] = []
    with rig(options, ground, tmp_path / "rig") as running:
        watch = Watch(running)
        Drive(running, watch, planned, at_once=2, tell=told.append).go(time.monotonic() + LIMIT_S)
        after = watch.settle()
    assert [f"{one.fault}: {one.result}" for one in told if one.result != HELD] == []
    assert [*after, *running.left_behind(), *running.still_there()] == []
    assert len(told) >= LEAST_PLAYED
