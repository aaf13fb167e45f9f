"""What the API answers about forecasts whose hours have passed: the track record, and its windows one by one."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.features.realised import THRESHOLD
from app.store.outcomes import Outcome
from app.types import iso
from app.web.schemas import annualised


class ScoresOut(BaseModel):
    """How good a forecaster was, as `veriregime evaluate` measures it; null where it cannot be told.

    Four digits after the point, fewer where a number is ten or more.
    """

    accuracy: float | None = Field(description="share of windows whose regime was named rightly")
    balanced_accuracy: float | None = Field(description="mean of the two regimes' shares that were named rightly")
    f1: float | None = Field(description="macro F1 of the two regimes")
    auc: float | None = Field(description="chance that a high window scored above a low one; null with one regime only")
    brier: float | None = Field(description="mean squared error of the stated probability; 0 is best")
    ece: float | None = Field(description="expected calibration error over ten bins; 0 is best")
    r2_log_vol: float | None = Field(description="share of the variance of ln volatility that was forecast")
    qlike: float | None = Field(description="QLIKE loss of the variance (Patton 2011); 0 is best")


class BaselinesOut(BaseModel):
    """The next hours are like the last ones: what anybody can forecast."""

    persistence_60: ScoresOut = Field(description="by the volatility of the hour before the window's end")
    persistence_240: ScoresOut = Field(description="by that of the four hours before it")


class BinOut(BaseModel):
    """The windows whose stated probability of high lies in one of ten equal bins; the last one includes 1."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    start: float = Field(alias="from", description="of the bin, inclusive")
    end: float = Field(alias="to", description="of the bin, exclusive")
    windows: int
    stated: float | None = Field(description="mean stated probability of high")
    observed: float | None = Field(description="share of the windows that was high")


class DayOut(BaseModel):
    """The windows that ended on one day, UTC."""

    day: str = Field(description="such as 2025-09-15")
    windows: int
    high_share: float | None
    accuracy: float | None
    brier: float | None
    auc: float | None
    persistence_60: float | None = Field(description="accuracy of persistence by the last hour")
    persistence_240: float | None = Field(description="and by the last four hours")


class TrackRecordOut(BaseModel):
    """How a feed's forecasts did over a stretch of time, beside what anybody could have said."""

    feed: str
    model_id: str
    model_name: str
    origin: Literal["live", "backtest"] = Field(
        description="live: proved forecasts, before anybody knew. backtest: the same model on recorded candles, "
        "afterwards; nobody was served these"
    )
    start: str | None = Field(description="windows ended at this time or later; null: there are none")
    end: str | None = Field(description="and before this one")
    windows: int = Field(description="with a realised volatility: everything below is about these")
    pending: int = Field(description="proved forecasts whose outcome is still to come")
    left_out: int = Field(description="windows whose realised volatility cannot be told: /outcomes says why")
    high_share: float | None = Field(description="share of the windows that were high")
    model: ScoresOut
    baselines: BaselinesOut
    points_above_better_persistence: float | None = Field(
        description="accuracy points of the model above whichever persistence did better"
    )
    calibration: list[BinOut]
    per_day: list[DayOut] = Field(description="oldest first; days with an outcome")


class OutcomeOut(BaseModel):
    """A forecast beside what the market did; null where that cannot be told."""

    window_end: str
    id: str | None = Field(description="of the prediction; null for a back-test, or once that is past its retention")
    p_high: float
    regime: Literal["low", "high"]
    vol_annualised: float = Field(description="forecast volatility of the horizon, as a fraction of 1 per year")
    realised_vol_annualised: float | None = Field(description="what it was")
    realised_regime: Literal["low", "high"] | None
    right: bool | None = Field(description="whether the regime was named rightly")
    missing: str | None = Field(description="why the realised volatility cannot be told")

    @classmethod
    def of(cls, outcome: Outcome) -> OutcomeOut:
        high = None if outcome.realised is None else outcome.realised >= THRESHOLD
        return cls(
            window_end=iso(outcome.window_end_ms),
            id=outcome.prediction_id,
            p_high=outcome.p_high,
            regime="high" if outcome.high_said else "low",
            vol_annualised=outcome.vol_annualised,
            realised_vol_annualised=None if outcome.realised is None else annualised(outcome.realised),
            realised_regime=None if high is None else "high" if high else "low",
            right=None if high is None else high == outcome.high_said,
            missing=outcome.missing,
        )


class OutcomesOut(BaseModel):
    """Oldest window first."""

    outcomes: list[OutcomeOut]
    next: str | None = Field(description="`cursor` of the page after this one; null: there is none yet")
