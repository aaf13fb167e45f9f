"""Our keys against the registry's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.attester.proposal import Refusal
from app.chain.registry import PinnedModel
from app.inference.release import ReleasedModel


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock that readings age by: its one item is the time."""
    time = [1000.0]
    monkeypatch.setattr("app.attester.pins.time.monotonic", lambda: time[0])
    return time


def refusal(bench: Any, model: ReleasedModel, *, joint: bool = False) -> Refusal | None:
    found = bench.pins.refusal(model.model_id, joint=joint)
    return None if found is None else found.reason


@pytest.mark.parametrize("joint", [False, True])
def test_keys__that_the_registry_pins__are_good(bench: Any, model: ReleasedModel, joint: bool) -> None:
    assert refusal(bench, model, joint=joint) is None


@pytest.mark.parametrize(
    ("change", "single", "joint"),
    [
        ({"vk_hash": "ff" * 32}, Refusal.KEYS_DIFFER, None),
        ({"srs_hash": "ff" * 32}, Refusal.KEYS_DIFFER, None),
        ({"joint_vk_hash": "ff" * 32}, None, Refusal.KEYS_DIFFER),
        ({"joint_verifier": None, "joint_vk_hash": "00" * 32}, None, Refusal.NO_JOINT_CIRCUIT),
    ],
    ids=["vk", "srs", "joint vk", "no joint verifier"],
)
def test_other_keys__are_refused_where_they_are_used(
    bench: Any,
    model: ReleasedModel,
    pinned: PinnedModel,
    change: dict[str, Any],
    single: Refusal | None,
    joint: Refusal | None,
) -> None:
    bench.reader.pinned = replace(pinned, **change)
    assert (refusal(bench, model), refusal(bench, model, joint=True)) == (single, joint)


def test_model__that_the_registry_does_not_know__is_refused(bench: Any, model: ReleasedModel) -> None:
    bench.reader.pinned = None
    assert refusal(bench, model) is Refusal.MODEL_NOT_REGISTERED


def test_registry__is_read_again_after_a_minute(
    bench: Any, model: ReleasedModel, pinned: PinnedModel, now: list[float]
) -> None:
    assert refusal(bench, model) is None
    bench.reader.pinned = replace(pinned, vk_hash="ff" * 32)
    now[0] += 59
    assert refusal(bench, model) is None
    now[0] += 1
    assert refusal(bench, model) is Refusal.KEYS_DIFFER


def test_registry__away_for_a_while__is_taken_at_its_last_word_for_ten_minutes(
    bench: Any, model: ReleasedModel, now: list[float]
) -> None:
    assert refusal(bench, model) is None
    bench.reader.away = True
    now[0] += 599
    assert refusal(bench, model) is None
    now[0] += 6
    assert refusal(bench, model) is Refusal.REGISTRY_UNREACHABLE


def test_registry__that_was_never_reached__is_not_asked_at_every_proposal(
    bench: Any, model: ReleasedModel, now: list[float]
) -> None:
    bench.reader.away = True
    assert [refusal(bench, model) for _ in range(3)] == [Refusal.REGISTRY_UNREACHABLE] * 3
    assert bench.reader.asked == 1
    bench.reader.away = False
    now[0] += 5
    assert refusal(bench, model) is None
