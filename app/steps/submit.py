"""A signed proof goes on chain when it is due: simulated, signed, its hash stored, sent, followed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection
from contextlib import AbstractContextManager

from app.chain.rounds import Round
from app.chain.sender import Fees, Sender
from app.clock import Clock, wall_ms
from app.errors import BalanceTooLow, ChainError, FeesTooHigh, Misconfigured, SimulationReverted, StoreUnavailable
from app.metrics import Metrics
from app.steps.publishing import OracleTarget, PublishingPolicy, StepReport, SubmitOutcome
from app.steps.settle import Settlement
from app.steps.subject import about_window, stage
from app.steps.update import Update, ready_update
from app.store.database import Database
from app.types import Prediction, PredictionId, iso

log = logging.getLogger(__name__)

_MARGIN_MS = 15_000
"""An update that would reach the chain at the very end of the submission limit is not sent."""
_AGAIN_S = 15.0
"""What was refused for a reason that may pass is tried again after this."""
_OVERTURNS = (SubmitOutcome.REORGED, SubmitOutcome.FORGOTTEN, SubmitOutcome.CANCELLED, SubmitOutcome.REVERTED)
"""The chain is not as it was when something was decided about a prediction."""
_REFUSALS = (
    (SimulationReverted, SubmitOutcome.WOULD_REVERT),
    (FeesTooHigh, SubmitOutcome.FEES_TOO_HIGH),
    (BalanceTooLow, SubmitOutcome.BALANCE_TOO_LOW),
    (Misconfigured, SubmitOutcome.WRONG_CHAIN),
    (ChainError, SubmitOutcome.CHAIN_UNAVAILABLE),
)
_CHAIN_AWAY = (SubmitOutcome.CHAIN_UNAVAILABLE, SubmitOutcome.WRONG_CHAIN)


class SubmitStep:
    def __init__(
        self,
        feeds: Collection[str],
        database: Database,
        clock: Clock,
        metrics: Metrics,
        target: OracleTarget | None,
        policy: PublishingPolicy,
    ) -> None:
        self.target = target
        self.last: StepReport | None = None
        self._feeds = list(feeds)
        self._database = database
        self._clock = clock
        self._metrics = metrics
        for outcome in SubmitOutcome:  # from 0 on: Prometheus sees no increase in what begins at 1
            metrics.submissions.labels(outcome)
        self._policy = policy
        self._settlement = Settlement(database, clock, metrics, policy)
        self._decided: dict[PredictionId, float] = {}
        """Until when (monotonic) there is nothing new to decide about a prediction."""
        self._newest: dict[str, Round | None] = {}
        """The newest round of each feed, as far as was seen."""

    def expects(self, prediction: Prediction) -> bool:
        """Whether a forecast will be due on chain, by the newest round that was seen; yes where none was looked for."""
        seen = self._newest.get(prediction.feed)
        return self._policy.due(prediction, seen) is not None

    def next(self) -> SubmitOutcome:
        """One step on chain: settle what is on its way, else publish the newest signed forecast that is due."""
        if self.target is None:
            return SubmitOutcome.NO_CHAIN
        outcome, detail = SubmitOutcome.CHAIN_UNAVAILABLE, "stopped by an unexpected error"
        try:
            outcome, detail = self._step(self.target)
            self._tell_chain(self.target, up=True)
        except StoreUnavailable as error:  # a misconfiguration too, but not of the chain
            detail = str(error)
            raise
        except (ChainError, Misconfigured) as error:
            outcome = next(known for kind, known in _REFUSALS if isinstance(error, kind))
            detail = str(error)
            self._tell_chain(self.target, up=outcome not in _CHAIN_AWAY)
            log.log(logging.DEBUG if self._was_said(outcome, detail) else logging.WARNING, "%s: %s", outcome, detail)
        finally:
            self._metrics.submissions.labels(outcome).inc()
            if outcome not in (SubmitOutcome.IDLE, SubmitOutcome.PENDING):
                self.last = StepReport(outcome, detail, self._clock.now_ms())
        return outcome

    def _tell_chain(self, target: OracleTarget, *, up: bool) -> None:
        self._metrics.chain_up.labels(str(target.oracle.chain_id)).set(up)

    def _was_said(self, outcome: SubmitOutcome, detail: str) -> bool:
        """Fees and balances have another number in their detail every time."""
        if self.last is None or self.last.outcome is not outcome:
            return False
        return outcome in (SubmitOutcome.FEES_TOO_HIGH, SubmitOutcome.BALANCE_TOO_LOW) or self.last.detail == detail

    def _step(self, target: OracleTarget) -> tuple[SubmitOutcome, str]:
        settled = self._settlement.next(target, target.sender) if target.sender else None
        if settled is not None:
            if settled in _OVERTURNS:
                self._decided.clear()
            return settled, f"transaction {self._settlement.subject}"
        for prediction, update in self._undecided(target):
            with about_window(prediction.feed, prediction.window_end_ms, prediction.id):
                outcome, detail = self._decide(target, prediction, update)
            if outcome is not SubmitOutcome.IDLE:
                return outcome, detail
        return SubmitOutcome.IDLE, "nothing to publish"

    def _undecided(self, target: OracleTarget) -> list[tuple[Prediction, Update]]:
        """The newest signed prediction of each feed, newest first, unless it was decided about already."""
        now_s, since_ms = time.monotonic(), self._oldest_ms(target)
        oracle, panel = target.oracle, target.reader.panel()
        with self._database.unit_of_work(write=False) as store:
            newest = store.submissions.newest_signed(oracle, self._feeds, since_ms, panel.threshold).values()
            self._decided = {one: until for one, until in self._decided.items() if one in newest}
            open_ones = [one for one in newest if self._decided.get(one, -math.inf) <= now_s]
            sent = store.submissions.of(open_ones, oracle.chain_id)
            predictions = [store.predictions.get(one) for one in open_ones if one not in sent]
            updates = [(one, ready_update(store, one, oracle, panel)) for one in predictions if one]
        ready = [(prediction, update) for prediction, update in updates if update is not None]
        return sorted(ready, key=lambda pair: -pair[0].window_end_ms)

    def _oldest_ms(self, target: OracleTarget) -> int:
        return self._clock.now_ms() - target.reader.submission_limit_s() * 1000 + _MARGIN_MS

    def _decide(self, target: OracleTarget, prediction: Prediction, update: Update) -> tuple[SubmitOutcome, str]:
        """The ladder: on chain already, not ours to send, not due, refused in a rehearsal, too dear, not paid for."""
        name = f"{prediction.feed} at {iso(prediction.window_end_ms)}"
        newest = self._newest_round(target, prediction.feed)
        if newest is not None and newest.window_end_ms >= prediction.window_end_ms:
            return self._already_there(target, prediction, newest.window_end_ms)
        sender = target.sender
        if sender is None:
            self._decided[prediction.id] = time.monotonic() + _AGAIN_S
            return SubmitOutcome.NO_ACCOUNT, f"{name} waits for somebody to send it"
        reason = self._due(target, update)
        if reason is None:
            self._decided[prediction.id] = math.inf
            return SubmitOutcome.NOT_DUE, f"{name} differs too little from the newest round"
        try:
            with self._span("rehearse", prediction, update):
                fees = self._rehearse(target, sender, update)
        except (SimulationReverted, FeesTooHigh, BalanceTooLow):
            self._decided[prediction.id] = time.monotonic() + _AGAIN_S
            raise
        if self._policy.dry_run:
            self._decided[prediction.id] = math.inf
            log.info("dry run: %s would be sent now, %s", name, reason)
            return SubmitOutcome.DRY_RUN, f"{name}: {reason}"
        with self._span("submit", prediction, update):
            return self._send(target, sender, update, fees), f"{name}: {reason}"

    def _span(self, name: str, prediction: Prediction, update: Update) -> AbstractContextManager[None]:
        others = [one.id for one in update.carried if one.id != prediction.id]
        return stage(name, prediction.feed, prediction.window_end_ms, [prediction.id, *others])

    def _rehearse(self, target: OracleTarget, sender: Sender, update: Update) -> Fees:
        """The fees to send it with, once the oracle would take it and the account can pay."""
        target.rounds.simulate(update.calldata, update.gas, sender.address)
        fees = sender.fees()
        self._watch_balance(sender.require_funds(update.gas, fees), update.gas * fees.max_fee_wei, sender)
        return fees

    def _already_there(
        self, target: OracleTarget, prediction: Prediction, newest_end_ms: int
    ) -> tuple[SubmitOutcome, str]:
        if newest_end_ms > prediction.window_end_ms:
            self._decided[prediction.id] = math.inf
            return SubmitOutcome.SUPERSEDED, f"{prediction.feed} has a round of a later window"
        found = target.rounds.publication(prediction.feed, prediction.window_end_ms)
        if found is None:  # the endpoint's index of events is behind
            self._decided[prediction.id] = time.monotonic() + _AGAIN_S
            return SubmitOutcome.SUPERSEDED, f"{prediction.feed} has a round of this window already"
        with self._database.unit_of_work() as store:
            store.submissions.published_by_others(
                prediction.id, target.oracle.chain_id, target.oracle.contract, found.tx_hash, found.block_number
            )
        log.info("%s at %s was published by others", prediction.feed, iso(prediction.window_end_ms))
        return SubmitOutcome.PUBLISHED_BY_OTHERS, f"transaction {found.tx_hash}"

    def _due(self, target: OracleTarget, update: Update) -> str | None:
        """Why an update is due: one of its forecasts is."""
        reasons = (self._policy.due(one, self._newest_round(target, one.feed)) for one in update.carried)
        return next((reason for reason in reasons if reason), None)

    def _newest_round(self, target: OracleTarget, feed: str) -> Round | None:
        self._newest[feed] = found = target.rounds.newest(feed)
        return found

    def _send(self, target: OracleTarget, sender: Sender, update: Update, fees: Fees) -> SubmitOutcome:
        with self._database.unit_of_work(write=False) as store:
            in_flight = store.submissions.next_nonce(target.oracle.chain_id, sender.address)
        nonce = max(sender.nonces()[1], in_flight)
        signed = sender.sign(target.oracle.contract, update.calldata, update.gas, nonce, fees)
        with self._database.unit_of_work(durable=True) as store:  # before it is sent: from here on it cannot be lost
            if not store.submissions.record([one.id for one in update.carried], signed, wall_ms()):
                return SubmitOutcome.TAKEN
        for one in update.carried:  # what the chain says once it is there
            self._newest[one.feed] = Round(0, one.window_end_ms, one.regime, one.vol_annualised)
        sender.send(signed.raw)
        return SubmitOutcome.SENT

    def _watch_balance(self, balance_wei: int, cost_wei: int, sender: Sender) -> None:
        left = balance_wei // max(1, cost_wei)
        self._metrics.balance.labels(sender.address).set(balance_wei / 1e18)
        self._metrics.affordable.labels(sender.address).set(left)
        if left < self._policy.low_balance_updates:
            log.warning("the account %s can pay for %d more updates at most: send it some", sender.address, left)
