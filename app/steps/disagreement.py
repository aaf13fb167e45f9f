"""When network and circuit disagree: the alarm, and everything that is needed to find out why."""

from __future__ import annotations

from typing import Any

from app.features.variation import CANDLES_NEEDED
from app.steps.served import ServedFeed
from app.store.repository import Store
from app.types import MINUTE_MS, Disagreement, Prediction, Proof, ProofJob, iso


def keep_for_study(store: Store, served: ServedFeed, job: ProofJob, proof: Proof, reason: str) -> None:
    """Raise the alarm of the feed, and keep the window: candles are pruned some day, this is not."""
    found = Disagreement(
        prediction_id=job.prediction_id,
        feed=job.feed,
        window_end_ms=job.window_end_ms,
        reason=reason,
        cleared_at_ms=None,
    )
    prediction = store.predictions.get(job.prediction_id)
    store.disagreements.add(
        found,
        {
            "feed": job.feed,
            "window_end": iso(job.window_end_ms),
            "model_id": job.model_id,
            "reason": reason,
            "observation": list(job.observation),
            "network_outputs": list(job.network_outputs),
            "circuit_outputs": list(proof.outputs),
            "output_scale": served.model.output_scale,
            "tolerance": list(served.model.tolerance),
            "proof": "0x" + proof.proof.hex(),
            "instances": list(proof.instances),
            "slot": proof.slot,
            "members": list(proof.members),
            "vk_hash": proof.vk_hash,
            "srs_hash": proof.srs_hash,
            **(_market(store, prediction, job.window_end_ms) if prediction else {}),
        },
    )


def _market(store: Store, prediction: Prediction, end_ms: int) -> dict[str, Any]:
    """What the venues had shown when the window was read."""
    sources = prediction.sources
    window = store.candles.window(sources.markets, end_ms - CANDLES_NEEDED * MINUTE_MS, end_ms, sources.as_of)
    return {
        "markets": dict(sources.markets),
        "quorum": prediction.quorum,
        "candles": {venue: part.rows() for venue, part in window.items()},
    }
