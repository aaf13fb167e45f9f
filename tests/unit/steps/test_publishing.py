"""When an update is worth its gas."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.chain.rounds import Round
from app.steps.publishing import PublishingPolicy
from app.types import Prediction, Regime

POLICY = PublishingPolicy(heartbeat_ms=3_600_000, deviation=0.05)


@pytest.fixture
def due(make_prediction: Callable[..., Prediction], window_end_ms: int) -> Callable[..., str | None]:
    """Why a high regime with volatility 0.4 is due after a round so many ms before it; or a round of other values."""
    prediction = make_prediction(regime=Regime.HIGH, vol_annualised=0.4)

    def ask(age_ms: int = 60_000, regime: Regime = Regime.HIGH, vol: float = 0.4, **policy: float) -> str | None:
        other = PublishingPolicy(**{"heartbeat_ms": 3_600_000, "deviation": 0.05} | policy)  # type: ignore[arg-type]
        return other.due(prediction, Round(1, window_end_ms - age_ms, regime, vol))

    return ask


def test_due__no_round_yet__is_the_first(make_prediction: Callable[..., Prediction]) -> None:
    assert POLICY.due(make_prediction(), None) == "the feed's first round"


def test_due__nothing_changed__is_not(due: Callable[..., str | None]) -> None:
    assert due() is None


def test_due__another_regime__is_whatever_the_volatility_says(due: Callable[..., str | None]) -> None:
    assert due(regime=Regime.LOW) == "the regime is high after low"


@pytest.mark.parametrize(("vol", "moved"), [(0.38, "5.3%"), (0.425, "5.9%"), (0.5, "20.0%")])
def test_due__volatility_moved_by_the_deviation_or_more__is(
    due: Callable[..., str | None], vol: float, moved: str
) -> None:
    assert due(vol=vol) == f"the volatility moved by {moved}"


@pytest.mark.parametrize("vol", [0.3811, 0.42])
def test_due__volatility_moved_by_less_than_the_deviation__is_not(due: Callable[..., str | None], vol: float) -> None:
    assert due(vol=vol) is None


def test_due__deviation_of_nothing__is_always(due: Callable[..., str | None]) -> None:
    assert due(deviation=0) == "the volatility moved by 0.0%"


@pytest.mark.parametrize(("age_ms", "reason"), [(3_599_999, None), (3_600_000, "the newest round is 3600 s older")])
def test_due__heartbeat_over__is_however_little_changed(
    due: Callable[..., str | None], age_ms: int, reason: str | None
) -> None:
    assert due(age_ms=age_ms) == reason
