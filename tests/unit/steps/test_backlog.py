from __future__ import annotations

from collections.abc import Callable

import pytest

from app.steps.backlog import Backlog

Make = Callable[..., Backlog]


@pytest.fixture
def make() -> Make:
    def with_proofs(*seconds: float, arrivals_per_s: float = 0.0, windows_at_once: int = 1) -> Backlog:
        backlog = Backlog(catch_up_s=600, arrivals_per_s=arrivals_per_s, windows_at_once=windows_at_once)
        for took in seconds:
            backlog.add(took, joint=False)
        return backlog

    return with_proofs


def test_seconds__before_the_first_proof__are_unknown(make: Make) -> None:
    assert make().seconds(joint=False) is None


def test_seconds__are_the_median_of_the_proofs(make: Make) -> None:
    assert make(0.2, 30.0, 0.3).seconds(joint=False) == 0.3


def test_seconds__forget_all_but_the_last_fifty_proofs(make: Make) -> None:
    assert make(*[100.0] * 60, *[1.0] * 50).seconds(joint=False) == 1.0


def test_seconds__joint_proofs__are_kept_apart_from_single_ones(make: Make) -> None:
    backlog = make(0.2)
    assert backlog.seconds(joint=True) is None
    backlog.add(2.0, joint=True)
    assert (backlog.seconds(joint=False), backlog.seconds(joint=True)) == (0.2, 2.0)


def test_bearable__before_the_first_proof__nobody_can_tell(make: Make) -> None:
    assert make().bearable(slots=4) is None


def test_bearable__without_provers__nobody_can_tell(make: Make) -> None:
    assert make(0.2).bearable(slots=0) is None


@pytest.mark.parametrize(
    ("slots", "arrivals_per_s", "bearable"),
    [(1, 0.0, 300), (4, 0.0, 1200), (1, 0.25, 150), (4, 1.9, 60)],
    ids=["one prover", "four provers", "half of it for new windows", "nearly all of it for new windows"],
)
def test_bearable__spare_capacity__is_what_it_proves_within_the_catch_up_time(
    make: Make, slots: int, arrivals_per_s: float, bearable: int
) -> None:
    found = make(2.0, arrivals_per_s=arrivals_per_s).bearable(slots)
    assert found is not None
    assert found[0] == pytest.approx(bearable, abs=1)
    assert found[1] == 2.0


@pytest.mark.parametrize("arrivals_per_s", [0.5, 0.6, 100.0])
def test_bearable__windows_arrive_as_fast_as_they_are_proved__is_the_newest_of_each_feed(
    make: Make, arrivals_per_s: float
) -> None:
    assert make(2.0, arrivals_per_s=arrivals_per_s, windows_at_once=10).bearable(slots=1) == (10, 2.0)


def test_bearable__proofs_that_take_no_time__is_no_division_by_zero(make: Make) -> None:
    bearable = make(0.0).bearable(slots=1)
    assert bearable is not None
    assert bearable[0] > 10**6


def test_seconds__of_more_than_ten_minutes_ago__are_forgotten(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr("app.steps.backlog.time.monotonic", lambda: now[0])
    backlog = make(90.0)
    now[0] += 599
    assert backlog.seconds(joint=False) == 90.0
    now[0] += 2
    assert backlog.seconds(joint=False) is None


@pytest.mark.parametrize(
    ("joint_s", "slots", "keeps_up"),
    [(None, 1, True), (60.0, 1, True), (61.0, 1, False), (119.0, 2, True), (121.0, 2, False), (60.0, 0, True)],
)
def test_joint_keeps_up__while_the_joint_proofs_of_a_minute_are_made_within_it(
    make: Make, joint_s: float | None, slots: int, keeps_up: bool
) -> None:
    backlog = make(arrivals_per_s=10 / 60, windows_at_once=10)
    if joint_s is not None:
        backlog.add(joint_s, joint=True)
    assert backlog.joint_keeps_up(slots) is keeps_up


def test_bearable__only_joint_proofs_so_far__goes_by_their_share_of_a_window(make: Make) -> None:
    backlog = make(arrivals_per_s=0.0, windows_at_once=10)
    backlog.add(20.0, joint=True)
    assert backlog.bearable(slots=1) == (300, 2.0)
