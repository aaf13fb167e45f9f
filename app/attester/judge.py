"""The attester's ladder: every proposal is signed, or refused with the first thing that is wrong with it."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping

from app import logs, tracing
from app.attester.market import OwnMarket
from app.attester.pins import Pins
from app.attester.proposal import AttestedFeed, Proposal, ProposedWindow, Refusal, Refused, Signed
from app.attester.tolerance import Tolerance
from app.chain.account import Account
from app.chain.attestation import input_commitment, sign
from app.clock import Clock, wall_ms
from app.errors import AlreadySigned, NotNow, ProvingFailed
from app.features.variation import INPUTS
from app.inference.network import Network
from app.metrics import Metrics
from app.proving.pool import ProverPool
from app.store.database import Database
from app.types import Keys, ModelId, OracleAt, iso, prediction_id

log = logging.getLogger(__name__)

_AT_ONCE = 4
_PATIENCE_S = 3.0


class Judge:
    """Answers proposals about the feeds of one oracle with the key of one account; from any thread."""

    def __init__(
        self,
        feeds: Mapping[str, AttestedFeed],
        oracle: OracleAt,
        account: Account,
        *,
        pins: Pins,
        market: OwnMarket,
        pool: ProverPool,
        database: Database,
        clock: Clock,
        metrics: Metrics,
        tolerance: Tolerance,
    ) -> None:
        self.feeds = feeds
        self.oracle = oracle
        self.account = account
        self.tolerance = tolerance
        self._pins = pins
        self._market = market
        self._pool = pool
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def answer(self, proposal: Proposal) -> Signed | Refused:
        """Sign the claim of a proposal, or refuse; counted and logged."""
        first = proposal.windows[0]
        known = [prediction_id(one.feed, one.window_end_ms, ModelId(proposal.model_id)) for one in proposal.windows]
        with (
            logs.about(tick=logs.tick_id(first.feed, first.window_end_ms), prediction=known[0]),
            tracing.span("judge", feed=first.feed, window_end_ms=first.window_end_ms, predictions=known),
        ):
            return self._answer(proposal)

    def _answer(self, proposal: Proposal) -> Signed | Refused:
        if not self._places.acquire(timeout=_PATIENCE_S):
            answer: Signed | Refused = Refused(Refusal.BUSY, f"{_AT_ONCE} proposals are being judged", retry_after_s=1)
        else:
            try:
                answer = self._refusal(proposal) or self._sign(proposal)
            finally:
                self._places.release()
        self._tell(proposal, answer)
        return answer

    def _refusal(self, proposal: Proposal) -> Refused | None:
        """What is quick to see comes first; nothing is written here."""
        for check in (
            self._other_oracle,
            self._unknown,
            self._impossible,
            self._not_pinned,
            self._untimely,
            self._contradicts,
            self._not_seen,
            self._not_committed,
        ):
            refused = check(proposal)
            if refused:
                return refused
        return None

    def _other_oracle(self, proposal: Proposal) -> Refused | None:
        asked, ours = proposal.oracle, self.oracle
        if (asked.chain_id, asked.contract.lower()) == (ours.chain_id, ours.contract.lower()):
            return None
        return Refused(Refusal.OTHER_ORACLE, f"this attester signs for {ours.contract} on chain {ours.chain_id} only")

    def _unknown(self, proposal: Proposal) -> Refused | None:
        for window in proposal.windows:
            attested = self.feeds.get(window.feed)
            if attested is None:
                return Refused(Refusal.UNKNOWN_FEED, f"{window.feed} is not attested here: {', '.join(self.feeds)} are")
            if attested.model.model_id != proposal.model_id:
                return Refused(
                    Refusal.UNKNOWN_MODEL,
                    f"{window.feed} is attested here under model {attested.model.model_id}, not {proposal.model_id}",
                )
        return None

    def _impossible(self, proposal: Proposal) -> Refused | None:
        """The form that every observation of the model has."""
        keys, attested = self._keys(proposal), self.feeds[proposal.windows[0].feed]
        if keys is None:
            return Refused(Refusal.NO_JOINT_CIRCUIT, "joint proofs are not attested here")
        if len(proposal.windows) > keys.circuit.windows:
            return Refused(Refusal.IMPOSSIBLE_INPUTS, f"a proof takes {keys.circuit.windows} windows at most")
        if len({window.feed for window in proposal.windows}) < len(proposal.windows):
            return Refused(Refusal.IMPOSSIBLE_INPUTS, "a feed stands in a proof once")
        most = math.ceil(attested.spec.clip * 2**attested.spec.input_scale)
        for window in proposal.windows:
            if len(window.values) != INPUTS:
                return Refused(Refusal.IMPOSSIBLE_INPUTS, f"{window.feed}: an observation has {INPUTS} inputs")
            if any(abs(value) > most for value in window.values):
                return Refused(Refusal.IMPOSSIBLE_INPUTS, f"{window.feed}: no input is beyond ±{most}")
        return None

    def _not_pinned(self, proposal: Proposal) -> Refused | None:
        return self._pins.refusal(proposal.model_id, joint=proposal.joint)

    def _untimely(self, proposal: Proposal) -> Refused | None:
        limit_ms, now_ms = self._pins.submission_limit_ms(), self._clock.now_ms()
        if isinstance(limit_ms, Refused):
            return limit_ms
        for window in proposal.windows:
            end_ms = window.window_end_ms
            if end_ms > now_ms:
                wait_s = max(1, math.ceil(self._clock.seconds_until(end_ms)))
                words = f"{window.feed}: the window ends at {iso(end_ms)}, here it is {iso(now_ms)}"
                return Refused(Refusal.WINDOW_NOT_CLOSED, words, retry_after_s=wait_s)
            if now_ms - end_ms > limit_ms:
                words = f"{window.feed}: {iso(end_ms)} is more than {limit_ms // 1000} s ago: too old for the oracle"
                return Refused(Refusal.WINDOW_TOO_OLD, words)
        return None

    def _contradicts(self, proposal: Proposal) -> Refused | None:
        with self._database.unit_of_work(write=False) as store:
            conflict = store.signed_commitments.conflict(proposal.claim)
        return Refused(Refusal.ALREADY_SIGNED, conflict) if conflict else None

    def _not_seen(self, proposal: Proposal) -> Refused | None:
        for window in proposal.windows:
            refused = self._window_not_seen(window)
            if refused:
                return refused
        return None

    def _window_not_seen(self, window: ProposedWindow) -> Refused | None:
        attested = self.feeds[window.feed]
        try:
            own = self._market.observation(window.feed, window.window_end_ms).values
        except NotNow as error:
            retry_s = min(error.retry_after_s or 5, 5)
            return Refused(Refusal.MARKET_INCOMPLETE, f"{window.feed}: {error}", retry_after_s=retry_s)
        different = self.tolerance.inputs_differ(own, window.values, attested.spec.input_scale)
        if different:
            return Refused(Refusal.INPUTS_DIFFER, f"{window.feed}: {different}")
        different = self._forecasts_differ(attested.network, own, window.values)
        return Refused(Refusal.FORECAST_DIFFERS, f"{window.feed}: {different}") if different else None

    def _forecasts_differ(self, network: Network, own: tuple[int, ...], proposed: tuple[int, ...]) -> str | None:
        if own == proposed:
            return None
        return self.tolerance.forecasts_differ(network.forecast(own), network.forecast(proposed))

    def _not_committed(self, proposal: Proposal) -> Refused | None:
        keys = self._keys(proposal)
        assert keys is not None  # noqa: S101  `_impossible` came before
        empty = keys.circuit.windows - len(proposal.windows)
        values = [value for window in proposal.windows for value in window.values] + [0] * (empty * INPUTS)
        try:
            found = input_commitment(self._pool.commit(keys, values))
        except ProvingFailed as error:
            return Refused(Refusal.PROVER_UNAVAILABLE, f"the commitment could not be made: {error}", retry_after_s=2)
        if found == proposal.input_commitment:
            return None
        stated = proposal.input_commitment.hex()
        return Refused(Refusal.COMMITMENT_DIFFERS, f"the inputs commit to 0x{found.hex()}, not to 0x{stated}")

    def _sign(self, proposal: Proposal) -> Signed | Refused:
        """First the journal, then the signature: whatever ends us in between, no other commitment can follow."""
        claim = proposal.claim
        try:
            with self._database.unit_of_work(durable=True) as store:
                store.signed_commitments.bind(claim, wall_ms())
        except AlreadySigned as error:
            return Refused(Refusal.ALREADY_SIGNED, str(error))
        return Signed(sign(self.account, self.oracle, claim))

    def _keys(self, proposal: Proposal) -> Keys | None:
        attested = self.feeds[proposal.windows[0].feed]
        return attested.batch_keys if proposal.joint else attested.keys

    def _tell(self, proposal: Proposal, answer: Signed | Refused) -> None:
        windows = ", ".join(f"{window.feed} at {iso(window.window_end_ms)}" for window in proposal.windows)
        if isinstance(answer, Signed):
            self._metrics.answers.labels("signed").inc()
            log.info("%s: signed 0x%s", windows, proposal.input_commitment.hex())
        else:
            self._metrics.answers.labels(answer.reason).inc()
            log.warning("%s: refused, %s: %s", windows, answer.reason, answer.detail)
