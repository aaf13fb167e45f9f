"""What the routes read from the store, put together for the API."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from app.audit.bundle import Bundle, BundleAttested, make_bundle, window_start_ms
from app.chain.attestation import feed_id
from app.chain.registry import Panel, PinnedModel
from app.clock import wall_ms
from app.errors import (
    AttestationsMissing,
    BadInput,
    ChainError,
    NoChain,
    NoForecastYet,
    ProofNotReady,
    UnknownFeed,
    UnknownModel,
    UnknownPrediction,
)
from app.features.variation import CANDLES_NEEDED
from app.inference.release import model_by_id
from app.steps.fetch import VenueHealth, VenueState
from app.steps.publishing import OracleTarget
from app.steps.served import ServedFeed
from app.steps.standing import Role, Standing, TickReport
from app.steps.update import claim_of, ready_update
from app.store.repository import Store
from app.types import (
    MINUTE_MS,
    PROVED_STATES,
    Candles,
    Prediction,
    Proof,
    Status,
    TransactionState,
    iso,
)
from app.web.caching import etag_of
from app.web.ready import Asked, Ready
from app.web.schemas import (
    MOST_GAPS,
    AlarmOut,
    AttemptOut,
    AttestationOut,
    ChainOut,
    FeedOut,
    JudgementOut,
    OnchainOut,
    PipelineOut,
    PredictionOut,
    ProofOut,
    SrsOut,
    TickOut,
    UpdateOut,
    VenueOut,
    WindowOut,
    step_out,
)
from app.web.weeks import Weeks
from app.wiring import ApiRole

_ALIVE_MS = 30_000
_QUIET_S = 15.0
"""A proved forecast that was not sent to the chain by this age was not worth its gas."""


class Reader:
    """Read-only views of what is stored, the same in every process on one database."""

    def __init__(self, role: ApiRole) -> None:
        self._app = role
        self._weeks = Weeks()

    def served(self, feed: str) -> ServedFeed:
        served = self._app.feeds.get(feed)
        if served is None:
            raise UnknownFeed(f"there is no feed {feed[:64]!r} here; there is {', '.join(self._app.feeds)}")
        return served

    def standing(self, store: Store) -> tuple[Standing, int | None]:
        """How things stand as all processes at work say, and when a pipeline last said so (wall clock).

        Where none has been heard of for half a minute it is what the last one said; unknown when none ever did.
        """
        told = store.standings.since(wall_ms() - _ALIVE_MS)
        newest = store.standings.newest()
        told = told or ([newest] if newest else [])
        read = [(seen_ms, standing) for seen_ms, said in told if (standing := _standing(said)) is not None]
        ticking = [seen_ms for seen_ms, standing in read if Role.PIPELINE in standing.roles]
        seen_ms = max(ticking or [seen_ms for seen_ms, _ in read], default=None)
        merged = Standing.merged(standing for _, standing in read)
        if merged is None:
            merged = Standing(market="simulated" if self._app.settings.venue_urls else "live")
            seen_ms = max((seen_ms for seen_ms, _ in told), default=None)
        return merged, seen_ms

    def feed(self, name: str) -> FeedOut:
        served, clock, target = self.served(name), self._app.clock, self._app.target
        with self._app.database.unit_of_work(write=False) as store:
            standing, seen_ms = self.standing(store)
            tick = standing.ticks.get(name)
            venues = [
                self._venue(store, venue, symbol, standing.venues.get(venue, _UNHEARD), tick)
                for venue, symbol in served.markets.items()
            ]
            alarms = store.disagreements.open(name)
        return FeedOut(
            feed=name,
            symbol=served.feed.symbol,
            horizon_minutes=served.feed.horizon_minutes,
            cadence_seconds=60,
            model_id=served.model.model_id,
            model_name=served.model.name,
            market=standing.market,
            market_time=iso(clock.now_ms()),
            market_speed=standing.market_speed,
            pipeline=PipelineOut(
                alive=Role.PIPELINE in standing.roles and seen_ms is not None and wall_ms() - seen_ms < _ALIVE_MS,
                seen=iso(seen_ms) if seen_ms else None,
            ),
            venues=venues,
            quorum=served.quorum,
            clock_skew_seconds=standing.clock_skew_s,
            srs=SrsOut(
                sha256=served.keys.srs_hash, development=any(keys.srs_is_development for keys in served.all_keys)
            ),
            chain=self._chain(target, served, standing) if target else None,
            last_tick=TickOut.of(tick) if tick else None,
            alarms=[AlarmOut.of(found) for found in alarms],
        )

    def ready(self, asked: Asked) -> Ready:
        """The newest forecast of a feed as `ready` keeps it. Raises `UnknownFeed`, or `NoForecastYet`."""
        self.served(asked.feed)
        with self._app.database.unit_of_work(write=False) as store:
            seq = store.events.last()  # first: what is read after it is at least as new
            found = store.predictions.latest(asked.feed, proved=asked.proved)
            if found is None:
                raise NoForecastYet(
                    f"{asked.feed} has no forecast yet: see last_tick of /v1/feeds/{asked.feed}", retry_after_s=5
                )
            told = self.prediction(store, found, asked.parts)
        body = told.model_copy(update={"age_seconds": -1.0}).model_dump_json(exclude_unset=True).encode()
        return Ready.of(body, etag_of(body), found.window_end_ms, quiet_after_s=self._quiet_after_s(found), seq=seq)

    def _quiet_after_s(self, found: Prediction) -> float:
        if found.status is Status.CONFIRMED or (found.status is Status.PROVED and self._app.target is None):
            return 0.0
        return _QUIET_S if found.status is Status.PROVED else math.inf

    def prediction(self, store: Store, found: Prediction, include: frozenset[str] = frozenset()) -> PredictionOut:
        """One prediction with the parts asked for."""
        (body,) = self.predictions(store, [found])
        proved = store.predictions.proof(found.id) if include and found.status in PROVED_STATES else None
        parts: dict[str, object] = {}
        if "observation" in include:
            parts["observation"] = list(found.observation)
        if proved and "proof" in include:
            parts["proof"] = self.proof(*proved)
        if "attempts" in include:
            parts["attempts"] = [AttemptOut.of(attempt) for attempt in store.attempts.of(found.id)]
        target = self._app.target
        if target and "attestations" in include:
            answers = store.attestations.of(found.id, target.oracle)
            parts["attestations"] = [AttestationOut.of(answer) for answer in answers]
        panel = _panel(target) if target and proved and "calldata" in include else None
        if target and panel:
            update = ready_update(store, found, target.oracle, panel)
            parts["calldata"] = "0x" + update.calldata.hex() if update else None
        return body.model_copy(update=parts)

    def update(self, feed: str) -> UpdateOut:
        """The newest update of a feed that the oracle would take. Raises `NoChain`, or `AttestationsMissing`."""
        self.served(feed)
        target = self._app.target
        if target is None:
            raise NoChain("this service publishes to no chain: see VERIREGIME_RPC_URLS")
        oracle, panel, limit_ms = target.oracle, target.reader.panel(), target.reader.submission_limit_s() * 1000
        since_ms = self._app.clock.now_ms() - limit_ms
        with self._app.database.unit_of_work(write=False) as store:
            newest = store.submissions.newest_signed(oracle, [feed], since_ms, panel.threshold).get(feed)
            update = ready_update(store, known_prediction(store, newest), oracle, panel) if newest else None
            if update is None:
                raise AttestationsMissing(
                    f"no forecast of {feed} that can still be published has {panel.threshold} signature(s): see "
                    f"/v1/feeds/{feed}/latest?include=attestations",
                    retry_after_s=5,
                )
            sent = store.submissions.of([one.id for one in update.carried], oracle.chain_id).values()
        return UpdateOut(
            chain_id=oracle.chain_id,
            contract=oracle.contract,
            calldata="0x" + update.calldata.hex(),
            gas=update.gas,
            windows=[WindowOut(feed=name, window_end=iso(end_ms)) for name, end_ms in update.claim.windows],
            model_id=update.claim.model_id,
            signers=[signature.signer for signature in update.signatures],
            published=any(one.state in (TransactionState.INCLUDED, TransactionState.CONFIRMED) for one in sent),
            expires=iso(min(end_ms for _, end_ms in update.claim.windows) + limit_ms),
        )

    def proof(self, proof: Proof, proved_at_ms: int) -> ProofOut:
        return ProofOut.of(proof, proved_at_ms, srs_development=self._under_development_srs(proof))

    def predictions(self, store: Store, found: list[Prediction]) -> list[PredictionOut]:
        """A page of predictions, read in four queries however long it is."""
        ids = [prediction.id for prediction in found]
        chain_id = self._app.target.oracle.chain_id if self._app.target else None
        seconds, submissions = store.predictions.prove_seconds(ids), store.submissions.of(ids, chain_id)
        outcomes = store.outcomes.of(ids)
        return [
            PredictionOut.of(
                prediction,
                self._app.clock,
                prove_seconds=seconds.get(prediction.id),
                onchain=OnchainOut.of(submissions[prediction.id]) if prediction.id in submissions else None,
                outcome=JudgementOut.of(outcomes[prediction.id]) if prediction.id in outcomes else None,
            )
            for prediction in found
        ]

    def proved(self, store: Store, prediction_id: str) -> tuple[Prediction, Proof, int]:
        """A prediction with its proof. Raises `UnknownPrediction`, or `ProofNotReady` with its state."""
        found = known_prediction(store, prediction_id)
        proved = store.predictions.proof(found.id)
        if proved is None:
            raise ProofNotReady(f"the prediction is {found.status}" + (f": {found.failure}" if found.failure else ""))
        return found, *proved

    def signers(self, prediction_id: str) -> tuple[str, ...]:
        """Who has signed for it so far. Raises `UnknownPrediction` or `ProofNotReady`."""
        target = self._app.target
        with self._app.database.unit_of_work(write=False) as store:
            self.proved(store, prediction_id)
            answers = store.attestations.of(prediction_id, target.oracle) if target else []
        return tuple(sorted(answer.signature.signer for answer in answers if answer.signature))

    def bundle(self, prediction_id: str) -> Bundle:
        with self._app.database.unit_of_work(write=False) as store:
            found, proof, proved_at_ms = self.proved(store, prediction_id)
            sources, end_ms = found.sources, found.window_end_ms
            candles = store.candles.window(sources.markets, window_start_ms(end_ms), end_ms, sources.as_of)
            observations = [self._observation(store, member) for member in proof.members]
            attested = self._attested(store, found, proof)
        model = model_by_id(self._app.models, found.model_id)
        return make_bundle(
            found,
            proof,
            proved_at_ms,
            candles,
            circuit_hash=(model.batch if proof.members and model.batch else model.circuit).compiled_sha256,
            ezkl_version=model.manifest["ezkl_version"],
            srs_development=self._under_development_srs(proof),
            observations=observations,
            attested=attested,
        )

    def candles(
        self, feed: str, venue: str | None, start_ms: int, end_ms: int, step_s: int
    ) -> tuple[str, str, Candles]:
        """Candles of one venue of the feed, its first if none is named, put together to ``step_s`` seconds each."""
        markets = self.served(feed).markets
        venue = next(iter(markets)) if venue is None else venue
        if venue not in markets:
            raise BadInput(f"venue: {feed} reads {', '.join(markets)}, not {venue[:40]!r}")
        with self._app.database.unit_of_work(write=False) as store:
            found = store.candles.between(venue, markets[venue], start_ms, end_ms)
        return venue, markets[venue], coarser(found, step_s * 1000)

    def _chain(self, target: OracleTarget, served: ServedFeed, standing: Standing) -> ChainOut:
        settings, panel = self._app.settings, _panel(target)
        pins = _pins(target, served.model.model_id)
        return ChainOut(
            chain_id=target.oracle.chain_id,
            oracle=target.oracle.contract,
            feed_id="0x" + feed_id(served.feed.name).hex(),
            signers=list(panel.signers) if panel else [],
            threshold=panel.threshold if panel else None,
            sender=standing.sender,
            attesting=step_out(standing.attesting),
            publishing=step_out(standing.publishing),
            registry=target.reader.registry() if pins else None,
            verifier=pins.verifier if pins else None,
            joint_verifier=pins.joint_verifier if pins else None,
            rpc_url=str(settings.public_rpc_url) if settings.public_rpc_url else None,
            explorer_url=str(settings.explorer_url) if settings.explorer_url else None,
        )

    def _under_development_srs(self, proof: Proof) -> bool:
        """An SRS that nothing is proved under here any more counts as a development one: nobody vouches for it."""
        known = {
            keys.srs_hash: keys.srs_is_development for served in self._app.feeds.values() for keys in served.all_keys
        }
        return known.get(proof.srs_hash, True)

    def _attested(self, store: Store, found: Prediction, proof: Proof) -> BundleAttested | None:
        target = self._app.target
        answers = store.attestations.of(found.id, target.oracle) if target else []
        signatures = {answer.signature.signer: answer.signature for answer in answers if answer.signature}
        if target is None or not signatures:
            return None
        return BundleAttested.of(target.oracle, claim_of(store, found, proof), list(signatures.values()))

    def _observation(self, store: Store, member: str | None) -> tuple[int, ...] | None:
        return known_prediction(store, member).observation if member else None

    def _venue(self, store: Store, venue: str, symbol: str, health: VenueHealth, tick: TickReport | None) -> VenueOut:
        stored, end_ms = store.candles.range(venue, symbol), self._app.clock.last_minute_ms()
        week = (venue, symbol, window_start_ms(end_ms), end_ms)
        left_out = tick.left_out.get(venue) if tick else None
        there = self._weeks.of(store, *week)
        return VenueOut(
            venue=venue,
            symbol=symbol,
            state="left-out" if left_out and health.state is VenueState.FRESH else health.state.value,
            reason=health.reason or left_out,
            rests_until=iso(health.rests_until_ms) if health.rests_until_ms else None,
            clock_skew_seconds=None if health.skew_ms is None else health.skew_ms / 1000,
            last_candle=iso(stored[1]) if stored else None,
            gaps=[(iso(first), iso(after)) for first, after in there.gaps[-MOST_GAPS:]],
            missing_minutes=max(CANDLES_NEEDED - there.minutes, 0),
            revisions=there.revisions,
        )


_UNHEARD = VenueHealth(VenueState.UNKNOWN)


def _standing(said: Mapping[str, Any]) -> Standing | None:
    """None of what another version wrote, while one takes the other's place."""
    try:
        return Standing.from_json(said)
    except ValueError:
        return None


def _panel(target: OracleTarget) -> Panel | None:
    """Who may attest; none while the chain is away and nothing is known yet."""
    try:
        return target.reader.panel()
    except ChainError:
        return None


def _pins(target: OracleTarget, model_id: str) -> PinnedModel | None:
    """What the registry pins of a model; none while the chain is away, or when it does not know it."""
    try:
        return target.reader.pins(model_id)
    except (ChainError, UnknownModel):
        return None


def known_prediction(store: Store, prediction_id: str) -> Prediction:
    found = store.predictions.get(prediction_id)
    if found is None:
        raise UnknownPrediction(f"there is no prediction {prediction_id[:64]!r}")
    return found


def coarser(candles: Candles, step_ms: int) -> Candles:
    """Candles of ``step_ms`` from one-minute candles."""
    if step_ms == MINUTE_MS or len(candles) == 0:
        return candles
    bucket = candles.open_time_ms // step_ms
    first = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1]))
    last = np.append(first[1:], len(bucket)) - 1
    return Candles(
        bucket[first] * step_ms,
        candles.open[first],
        np.maximum.reduceat(candles.high, first),
        np.minimum.reduceat(candles.low, first),
        candles.close[last],
        np.add.reduceat(candles.volume, first),
    )
