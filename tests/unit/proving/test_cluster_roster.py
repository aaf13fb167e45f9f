"""Which workers of a cluster are asked, by what the scheduler says of them."""

from __future__ import annotations

from typing import Any

import pytest

from app.proving.cluster import Roster


def told(last_seen: float = 0.0, status: str = "running", **resources: float) -> dict[str, Any]:
    """A worker as the scheduler describes it."""
    return {"name": "a name", "resources": resources, "last_seen": last_seen, "status": status}


@pytest.fixture
def roster() -> Roster:
    """Two provers that were heard of at time 0."""
    roster = Roster()
    roster.update({"workers": {"a": told(prover=1), "b": told(prover=4)}}, now=0)
    return roster


def test_workers_that_do_not_prove__do_not_count() -> None:
    roster = Roster()
    workers = {"a": told(prover=2), "b": told(), "c": told(GPU=1), "d": told(prover=3, status="closing_gracefully")}
    roster.update({"workers": workers}, now=0)
    assert {address: seen.slots for address, seen in roster.fit(now=0).items()} == {"a": 2}


def test_all_fit__none_is_preferred(roster: Roster) -> None:
    assert list(roster.fit(now=1)) == ["a", "b"]
    assert roster.preference(now=1) == []


def test_worker_that_was_late__is_avoided_for_a_minute(roster: Roster) -> None:
    assert roster.avoid("a", now=1) == "a name"
    assert roster.preference(now=2) == ["b"]
    roster.update({"workers": {"a": told(60, prover=1), "b": told(60, prover=4)}}, now=60.5)
    assert roster.preference(now=60.9) == ["b"]
    assert roster.preference(now=61) == []


def test_silent_worker__is_avoided_until_it_is_heard_again(roster: Roster) -> None:
    for second in range(1, 20):
        roster.update({"workers": {"a": told(prover=1), "b": told(second, prover=4)}}, now=second)
    assert roster.preference(now=19) == ["b"]
    roster.update({"workers": {"a": told(20, prover=1), "b": told(20, prover=4)}}, now=20)
    assert roster.preference(now=20) == []


def test_none_is_fit__all_are_asked(roster: Roster) -> None:
    assert list(roster.fit(now=100)) == ["a", "b"]
    assert roster.preference(now=100) == []


def test_worker_that_has_gone__is_named_by_its_address(roster: Roster) -> None:
    assert roster.avoid("c", now=0) == "c"


def test_scheduler_that_says_nothing__leaves_nobody(roster: Roster) -> None:
    roster.update({}, now=1)
    assert roster.fit(now=1) == {}
