"""One forecast, now, in the foreground: what `predict` and `demo --once` do with a wired application."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from app.errors import AttestationsMissing, ChainError, ProverUnavailable, ProvingFailed
from app.steps.attest import AttestOutcome
from app.steps.publishing import SubmitOutcome
from app.types import PROVED_STATES, PredictionId, Status
from app.web.reading import Reader, known_prediction
from app.wiring import Application

_ASK_AGAIN_S = 0.05
_ATTEST_LIMIT_S = 30.0
_CONFIRM_LIMIT_S = 60.0
_REFUSED = (
    SubmitOutcome.NO_CHAIN,
    SubmitOutcome.NO_ACCOUNT,
    SubmitOutcome.NOT_DUE,
    SubmitOutcome.SUPERSEDED,
    SubmitOutcome.WOULD_REVERT,
    SubmitOutcome.REVERTED,
    SubmitOutcome.FEES_TOO_HIGH,
    SubmitOutcome.BALANCE_TOO_LOW,
    SubmitOutcome.DRY_RUN,
    SubmitOutcome.WRONG_CHAIN,
    SubmitOutcome.CHAIN_UNAVAILABLE,
)
_PROVER_LIMIT_S = 60.0


def forecast_once(app: Application, feed: str, window_end_ms: int, *, submit: bool) -> dict[str, Any]:
    """Forecast, prove, submit if asked to, and write the bundle; gives the prediction as the API serves it, the
    bundle's path, and the seconds and gas that it took.
    """
    prediction, _ = app.pipeline.forecast(feed, window_end_ms)
    prove(app, prediction.id)
    if submit:
        attest(app)
        confirm(app)
    reader = Reader(app)
    path = _write(app.settings.var_dir / "bundles", reader.bundle(prediction.id).model_dump(mode="json"))
    with app.database.unit_of_work(write=False) as store:
        body = reader.prediction(store, known_prediction(store, prediction.id), frozenset(("observation",)))
    result = {
        "prediction": body.model_dump(mode="json", exclude_unset=True),
        "market": app.market,
        "proof_seconds": body.prove_seconds,
        "bundle": str(path),
    }
    if body.onchain is not None:
        onchain = body.onchain
        result |= {"submit_gas": onchain.gas_used, "tx_hash": onchain.tx_hash, "block_number": onchain.block_number}
    return result


def prove(app: Application, prediction_id: PredictionId) -> None:
    """Work off proof jobs until this prediction is proved, here or by another process on the same database.

    Raises `ProvingFailed` with the stored reason once it is given up, `ProverUnavailable` when no prover comes.
    """
    deadline = time.monotonic() + _PROVER_LIMIT_S
    while True:
        with app.database.unit_of_work(write=False) as store:
            found = known_prediction(store, prediction_id)
        if found.status in PROVED_STATES:
            return
        if found.status is Status.FAILED:
            raise ProvingFailed(f"the proof could not be made: {found.failure}")
        if app.prover.slots > 0:
            deadline = time.monotonic() + _PROVER_LIMIT_S
        elif time.monotonic() > deadline:
            raise ProverUnavailable(f"no prover has joined {app.settings.prover}: start one with `veriregime prover`")
        app.pipeline.prove_next()
        time.sleep(_ASK_AGAIN_S)


def attest(app: Application) -> None:
    """Collect signatures for what is proved. Raises `AttestationsMissing` when they do not come together."""
    deadline = time.monotonic() + _ATTEST_LIMIT_S
    while time.monotonic() < deadline:
        outcome = app.pipeline.attest_next()
        if outcome is AttestOutcome.ATTESTED:
            return
        if outcome in (AttestOutcome.NO_ORACLE, AttestOutcome.CHAIN_UNAVAILABLE):
            break
        time.sleep(_ASK_AGAIN_S)
    last = app.pipeline.last_attest
    raise AttestationsMissing(last.detail if last else "there is no oracle to attest for")


def confirm(app: Application) -> None:
    """Submit what is signed and wait until it is settled. Raises `ChainError` when the chain does not accept it."""
    deadline = time.monotonic() + _CONFIRM_LIMIT_S
    while time.monotonic() < deadline:
        outcome = app.pipeline.submit_next()
        if outcome in (SubmitOutcome.CONFIRMED, SubmitOutcome.PUBLISHED_BY_OTHERS):
            return
        if outcome in _REFUSED:
            last = app.pipeline.last_submit
            raise ChainError(
                f"the forecast was not accepted on chain: {outcome}: {last.detail if last else 'no chain'}"
            )
        time.sleep(_ASK_AGAIN_S)
    raise ChainError(f"the transaction was not settled within {_CONFIRM_LIMIT_S:g} s")


def _write(folder: Path, bundle: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{bundle['id']}.json"
    path.write_text(json.dumps(bundle, separators=(",", ":")) + "\n")
    return path
