"""When network and circuit disagree: the alarm, and everything that is needed to find out why."""

from __future__ import annotations

from app.features.variation import CANDLES_NEEDED
from app.steps.served import ServedFeed
from app.store.repository import Store
from app.types import MINUTE_MS, Disagreement, Proof, ProofJob, iso


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
    start_ms = job.window_end_ms - CANDLES_NEEDED * MINUTE_MS
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
            "candles": {
                venue: store.candles.between(venue, served.feed.symbol, start_ms, job.window_end_ms).rows()
                for venue in (prediction.venues if prediction else ())
            },
        },
    )
