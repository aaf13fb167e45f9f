"""The same seed brings the same faults, and every kind of them comes."""

from __future__ import annotations

import pytest

from tests.chaos.run import cast_of
from tests.chaos.schedule import schedule
from tests.rig.rig import ALONE, TWO_OF_EACH, RigOptions

ON_SQLITE = cast_of(RigOptions("sqlite", "sqlite", ALONE))
ON_POSTGRES = cast_of(RigOptions("postgresql", "postgresql", TWO_OF_EACH))


@pytest.mark.parametrize("cast", [ON_SQLITE, ON_POSTGRES])
def test_schedule__same_seed__is_the_same(cast: object) -> None:
    assert schedule(7, 100, cast) == schedule(7, 100, cast)  # type: ignore[arg-type]


def test_schedule__other_seed__is_another() -> None:
    assert schedule(7, 20, ON_SQLITE) != schedule(8, 20, ON_SQLITE)


def test_schedule_of_300__on_both_stores__has_every_kind_of_fault() -> None:
    kinds = {one.fault.kind for one in schedule(1, 120, ON_SQLITE)}
    kinds |= {one.fault.kind for one in schedule(1, 180, ON_POSTGRES)}
    promised = {
        "SIGKILL serve",
        "SIGKILL attester",
        "SIGKILL api",
        "SIGKILL prover worker",
        "SIGKILL PostgreSQL backend",
        "SIGTERM serve",
        "SIGSTOP serve, short",
        "SIGSTOP serve, long",
        "disk full",
        "disk full for PostgreSQL",
        "PostgreSQL immediate",
        "PostgreSQL SIGKILL",
        "SQLite locked, short",
        "SQLite locked, long",
        "all venues away",
        "RPC hanging",
        "SIGSTOP anvil",
        "reorg",
        "attester refused",
        "clock ahead by hours",
        "clock back by hours",
        "corrupted pk file",
        "corrupted vk file",
        "corrupted SRS file",
        "corrupted model file",
        "database file truncated",
        "database file overwritten",
        "second copy",
    }
    assert promised <= kinds
