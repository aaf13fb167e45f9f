"""For programs that use the oracle: ``from app.client import VeriRegime``. See docs/bots.md.

`VeriRegime` waits for its answers, `AsyncVeriRegime` is for asyncio; both give the frozen values of `app.client.values`
and raise members of the tree in `app.errors`.
"""

from app.client.asynchronous import AsyncVeriRegime
from app.client.blocking import DEFAULT_URL, VeriRegime
from app.client.errors import ServiceBusy, ServiceUnreachable, UnexpectedAnswer
from app.client.values import (
    Attestation,
    Event,
    Feed,
    Forecast,
    Onchain,
    Outcome,
    Page,
    Proof,
    Scores,
    TrackRecord,
    Update,
    Verdict,
)
from app.errors import BadInput, ForecastStale, NoForecastYet, NotNow, OracleError, ProofNotReady, UnknownFeed
from app.types import Regime, Status

__all__ = [
    "DEFAULT_URL",
    "AsyncVeriRegime",
    "Attestation",
    "BadInput",
    "Event",
    "Feed",
    "Forecast",
    "ForecastStale",
    "NoForecastYet",
    "NotNow",
    "Onchain",
    "OracleError",
    "Outcome",
    "Page",
    "Proof",
    "ProofNotReady",
    "Regime",
    "Scores",
    "ServiceBusy",
    "ServiceUnreachable",
    "Status",
    "TrackRecord",
    "UnexpectedAnswer",
    "UnknownFeed",
    "Update",
    "Verdict",
    "VeriRegime",
]
