"""The auditor's ladder: recompute everything from the candles up and stop at the first thing that does not hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.audit.bundle import Bundle, BundleAttested, instance_word, window_start_ms
from app.candles.files import check_candles
from app.chain.attestation import input_commitment, signer_of
from app.errors import BadInput, ModelFolderInvalid, OracleError
from app.features.agreement import same_market
from app.features.variation import VariationSpec, candles_digest, observe
from app.inference.network import Network, dequantise, disagreement, forecast_from
from app.inference.release import ReleasedModel, model_by_id
from app.proving.pool import ProverPool
from app.types import (
    MINUTE_MS,
    SCALAR_FIELD,
    AttesterSignature,
    Candles,
    Circuit,
    Claim,
    Feed,
    Keys,
    OracleAt,
    Window,
    iso,
    parse_time,
    prediction_id,
)

_NETWORK_ROUNDING = 1e-4
"""onnxruntime's float32 sums may differ a little between machines; what counts is the circuit."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``failed`` names the first check that does not hold, ``checks`` those that did, in order."""

    holds: bool
    failed: str | None
    reason: str | None
    checks: tuple[str, ...]
    signers: tuple[str, ...] = ()
    """Whose signatures hold."""
    venues: tuple[str, ...] = ()
    """Whose candles the forecast was recomputed from."""
    quorum: int | None = None
    """How many of them had to have a minute; whether that is enough is the reader's to judge."""


class _DoesNotHoldError(Exception):
    """Ends the ladder with the reason."""


class Auditor:
    """Checks bundles against the released models and keys made from the auditor's own files."""

    def __init__(
        self, models: Mapping[str, ReleasedModel], pool: ProverPool, var_dir: Path, trusted_srs: Collection[str] = ()
    ) -> None:
        self._models = models
        self._pool = pool
        self._var_dir = var_dir
        self._trusted_srs = trusted_srs

    def verify(self, bundle: Bundle, signed_by: Collection[str] = ()) -> Verdict:
        """The verdict on a bundle. A check that cannot be made does not hold.

        Every account of ``signed_by`` must have signed.
        """
        passed: list[str] = []
        for name, check in self._audit(bundle, signed_by).ladder():
            try:
                check()
            except (_DoesNotHoldError, OracleError) as error:
                return Verdict(holds=False, failed=name, reason=str(error), checks=tuple(passed))
            passed.append(name)
        signers = tuple(one.signer for one in bundle.attested.signatures) if bundle.attested else ()
        return Verdict(
            holds=True,
            failed=None,
            reason=None,
            checks=tuple(passed),
            signers=signers,
            venues=tuple(sorted(bundle.candles)),
            quorum=bundle.quorum,
        )

    def _audit(self, bundle: Bundle, signed_by: Collection[str]) -> _Audit:
        return _Audit(bundle, self._models, self._pool, self._var_dir, self._trusted_srs, signed_by)


class _Audit:
    """One bundle on its way down the ladder. Each check may use what the ones before it established."""

    model: ReleasedModel
    keys: Keys

    def __init__(
        self,
        bundle: Bundle,
        models: Mapping[str, ReleasedModel],
        pool: ProverPool,
        var_dir: Path,
        trusted_srs: Collection[str],
        signed_by: Collection[str],
    ) -> None:
        self._bundle = bundle
        self._wanted_signers = {account.lower() for account in signed_by}
        self._models = models
        self._pool = pool
        self._var_dir = var_dir
        self._trusted_srs = trusted_srs
        self._proof = bytes.fromhex(bundle.proof.proof[2:])

    def ladder(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        return (
            ("model_id", self._check_model),
            ("markets", self._check_markets),
            ("candles", self._check_candles),
            ("window_end", self._check_window_end),
            ("observation", self._check_observation),
            ("outputs", self._check_outputs),
            ("forecast", self._check_forecast),
            ("keys", self._check_keys),
            ("commitment", self._check_commitment),
            ("proof", self._check_proof),
            ("signatures", self._check_signatures),
            ("id", self._check_id),
            ("times", self._check_times),
            ("sha256", self._check_digest),
        )

    def _check_model(self) -> None:
        self.model = model_by_id(self._models, self._bundle.model_id)
        if self._bundle.feed not in self.model.feeds:
            raise _DoesNotHoldError(f"model {self.model.name} is not released for feed {self._bundle.feed}")

    def _check_markets(self) -> None:
        """Every venue's market is the feed's, in its own quote currency or, where that is a dollar, in another."""
        markets = self._bundle.markets
        if set(markets) != set(self._bundle.candles):
            raise _DoesNotHoldError(
                f"there are markets of {', '.join(sorted(markets))}, but candles of "
                f"{', '.join(sorted(self._bundle.candles))}"
            )
        base, _, rest = self._bundle.feed.upper().partition("-")
        quote = rest.partition("-")[0]
        for venue, symbol in sorted(markets.items()):
            if not same_market(symbol, f"{base}/{quote}"):
                raise _DoesNotHoldError(f"{symbol} of {venue} is not the market of the feed {self._bundle.feed}")

    def _check_candles(self) -> None:
        self._candles = {}
        for venue, rows in self._bundle.candles.items():
            candles = Candles.from_rows(rows)
            try:
                check_candles(candles, f"the candles of {venue}")
            except BadInput as error:
                raise _DoesNotHoldError(str(error)) from None
            self._candles[venue] = candles
        if candles_digest(self._candles) != self._bundle.candles_sha256:
            raise _DoesNotHoldError("the candles are not the ones whose digest the bundle states")

    def _check_window_end(self) -> None:
        end_ms = _time(self._bundle.window_end)
        first = min(int(candles.open_time_ms[0]) for candles in self._candles.values())
        last = max(int(candles.open_time_ms[-1]) for candles in self._candles.values())
        if end_ms % MINUTE_MS or last != end_ms - MINUTE_MS:
            raise _DoesNotHoldError(
                f"the window ends at {self._bundle.window_end}, but its last candle closes at {iso(last + MINUTE_MS)}"
            )
        if first < window_start_ms(end_ms):
            raise _DoesNotHoldError(f"there are candles from before the window, the first at {iso(first)}")

    def _check_observation(self) -> None:
        window = Window(
            feed=Feed(name=self._bundle.feed, symbol=""),
            end_ms=_time(self._bundle.window_end),
            candles=self._candles,
            quorum=self._bundle.quorum,
        )
        try:
            spec = VariationSpec.from_manifest(self.model.manifest["observation"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFolderInvalid(f"{self.model.folder}: its observation cannot be made here: {error}") from error
        if self._bundle.quorum < spec.quorum:
            raise _DoesNotHoldError(
                f"the model asks for a quorum of {spec.quorum}, the bundle for one of {self._bundle.quorum}"
            )
        values = observe(window, spec).values
        if len(values) != len(self._bundle.observation):
            raise _DoesNotHoldError(f"{len(self._bundle.observation)} inputs instead of {len(values)}")
        for index, (own, stated) in enumerate(zip(values, self._bundle.observation, strict=True)):
            if own != stated:
                raise _DoesNotHoldError(f"input {index} is {own} by these candles, the bundle says {stated}")

    def _check_outputs(self) -> None:
        bundle = self._bundle
        own = Network(self.model).outputs(np.asarray([bundle.observation]))[0].tolist()
        if not (len(own) == len(bundle.outputs) == len(bundle.network_outputs)):
            raise _DoesNotHoldError(f"the model has {len(own)} outputs")
        if max(abs(a - b) for a, b in zip(own, bundle.network_outputs, strict=True)) > _NETWORK_ROUNDING:
            raise _DoesNotHoldError(f"the network says {own}, the bundle says it said {bundle.network_outputs}")
        stated = dequantise(bundle.outputs, self.model.output_scale)
        if disagreement(own, stated, self.model.tolerance) > 1:
            raise _DoesNotHoldError(f"the network says {own} on this observation, the bundle says {list(stated)}")
        slot = bundle.joint.slot if bundle.joint else 0
        shown = bundle.proof.instances[slot * len(own) : (slot + 1) * len(own)]
        if [instance_word(value) for value in bundle.outputs] != shown:
            raise _DoesNotHoldError("the outputs are not the instances of the proof")

    def _check_forecast(self) -> None:
        bundle = self._bundle
        own = forecast_from(dequantise(bundle.outputs, self.model.output_scale))
        same = (
            own.regime == bundle.regime
            and math.isclose(own.p_high, bundle.p_high, rel_tol=1e-12)
            and math.isclose(own.vol_annualised, bundle.vol_annualised, rel_tol=1e-12)
        )
        if not same:
            raise _DoesNotHoldError(
                f"the outputs mean {own.regime}, p_high {own.p_high:.6f}, volatility {own.vol_annualised:.6f}; "
                f"the bundle says {bundle.regime}, {bundle.p_high:.6f}, {bundle.vol_annualised:.6f}"
            )

    def _check_keys(self) -> None:
        proof, circuit = self._bundle.proof, self._circuit()
        ezkl_version = self.model.manifest["ezkl_version"]
        if proof.circuit_hash != circuit.compiled_sha256 or proof.ezkl_version != ezkl_version:
            raise _DoesNotHoldError(f"the model's circuit is {circuit.compiled_sha256}, by ezkl {ezkl_version}")
        keys = self._pool.keys_for_srs(self._var_dir, circuit, proof.srs_hash, self._trusted_srs)
        if keys is None:
            raise _DoesNotHoldError(
                f"the SRS {proof.srs_hash} is not here: get it from the operator (GET /v1/srs/{proof.srs_hash}) "
                "and name it with --srs FILE"
            )
        if keys.vk_hash != proof.vk_hash:
            raise _DoesNotHoldError(f"circuit and SRS give the verifying key {keys.vk_hash}, not {proof.vk_hash}")
        if keys.srs_is_development and not proof.srs_development:
            raise _DoesNotHoldError(
                f"the bundle says that its SRS is no development one, but {proof.srs_hash} is not known as that of a "
                "ceremony here: if you trust it, name it in VERIREGIME_TRUSTED_SRS"
            )
        self.keys = keys

    def _circuit(self) -> Circuit:
        joint = self._bundle.joint
        if joint is None:
            return self.model.circuit
        if self.model.batch is None or len(joint.observations) != self.model.batch.windows:
            raise _DoesNotHoldError(f"model {self.model.name} has no circuit for {len(joint.observations)} windows")
        return self.model.batch

    def _inputs(self) -> list[int]:
        """What the commitment is over: this window, or all the windows of a joint proof."""
        own, joint = self._bundle.observation, self._bundle.joint
        if joint is None:
            return own
        if joint.slot >= len(joint.observations) or joint.observations[joint.slot] != own:
            raise _DoesNotHoldError(f"the inputs at place {joint.slot} of the proof are not this observation")
        if any(values is not None and len(values) != len(own) for values in joint.observations):
            raise _DoesNotHoldError(f"the windows of the proof do not all have {len(own)} inputs")
        return [value for values in joint.observations for value in values or [0] * len(own)]

    def _check_commitment(self) -> None:
        own = self._pool.commit(self.keys, self._inputs())
        if own != self._proof[: len(own)]:
            raise _DoesNotHoldError("the proof does not begin with the commitment of this observation")
        if "0x" + own.hex() != self._bundle.proof.commitment:
            raise _DoesNotHoldError("the commitment is not the one of this observation")

    def _check_proof(self) -> None:
        instances = [_signed(word) for word in self._bundle.proof.instances]
        if not self._pool.verify(self.keys, self._proof, instances):
            raise _DoesNotHoldError("the proof does not verify")

    def _check_signatures(self) -> None:
        """Each signature is its account's, over this very proof and these windows; who to trust is the reader's."""
        attested = self._bundle.attested
        signers = [one.signer for one in attested.signatures] if attested else []
        missing = sorted(self._wanted_signers - {signer.lower() for signer in signers})
        if missing:
            raise _DoesNotHoldError(f"{missing[0]} has not signed it")
        if attested is None:
            return
        if len({signer.lower() for signer in signers}) < len(signers):
            raise _DoesNotHoldError("somebody signed twice")
        oracle, claim = OracleAt(attested.chain_id, attested.oracle), self._claim(attested)
        for one in attested.signatures:
            signature = AttesterSignature(one.signer, bytes.fromhex(one.r[2:]), bytes.fromhex(one.vs[2:]))
            if signer_of(oracle, claim, signature) != one.signer:
                raise _DoesNotHoldError(f"the signature is not that of {one.signer} over this proof and these windows")

    def _claim(self, attested: BundleAttested) -> Claim:
        """What was signed: the windows of the proof, this one at its place."""
        bundle, joint = self._bundle, self._bundle.joint
        slot = joint.slot if joint else 0
        taken = sum(values is not None for values in joint.observations) if joint else 1
        if len(attested.windows) != taken or attested.windows[slot] != (bundle.feed, bundle.window_end):
            raise _DoesNotHoldError("the windows that were signed for are not those of the proof")
        return Claim(
            windows=tuple((feed, _time(end)) for feed, end in attested.windows),
            model_id=self.model.model_id,
            input_commitment=input_commitment(self._proof),
            joint=joint is not None,
        )

    def _check_id(self) -> None:
        bundle = self._bundle
        own = prediction_id(bundle.feed, _time(bundle.window_end), self.model.model_id)
        if own != bundle.id:
            raise _DoesNotHoldError(f"this feed, window and model have the id {own}")

    def _check_times(self) -> None:
        bundle = self._bundle
        if not _time(bundle.window_end) <= _time(bundle.predicted_at) <= _time(bundle.proved_at):
            raise _DoesNotHoldError("a prediction is made after its window and proved after that")

    def _check_digest(self) -> None:
        if self._bundle.digest() != self._bundle.sha256:
            raise _DoesNotHoldError("the bundle was changed after it was made: its digest is another")


def _signed(word: str) -> int:
    value = int(word, 16)
    return value - SCALAR_FIELD if value > SCALAR_FIELD // 2 else value


def _time(text: str) -> int:
    try:
        return parse_time(text)
    except ValueError as error:
        raise _DoesNotHoldError(str(error)) from None
