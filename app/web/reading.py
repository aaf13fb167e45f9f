"""What the routes read from the store, put together for the API."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from app.audit.bundle import Bundle, make_bundle, window_start_ms
from app.chain.calldata import verify_calldata
from app.errors import BadInput, ProofNotReady, UnknownFeed, UnknownPrediction
from app.features.variation import CANDLES_NEEDED
from app.inference.release import model_by_id
from app.steps.served import ServedFeed
from app.store.repository import Store
from app.types import MINUTE_MS, PROVED_STATES, Candles, Prediction, Proof, iso, parse_time
from app.web.schemas import (
    AlarmOut,
    AttemptOut,
    ChainOut,
    FeedOut,
    OnchainOut,
    PredictionOut,
    ProofOut,
    SrsOut,
    TickOut,
    VenueOut,
)
from app.wiring import Application


class Reader:
    """Read-only views of one application."""

    def __init__(self, application: Application) -> None:
        self._app = application

    def served(self, feed: str) -> ServedFeed:
        served = self._app.pipeline.feeds.get(feed)
        if served is None:
            known = ", ".join(self._app.pipeline.feeds)
            raise UnknownFeed(f"there is no feed {feed[:64]!r} here; there is {known}")
        return served

    def feed(self, name: str) -> FeedOut:
        served, clock = self.served(name), self._app.clock
        target, tick = self._app.pipeline.target, self._app.pipeline.last_tick.get(name)
        with self._app.database.unit_of_work(write=False) as store:
            venues = [self._venue(store, venue.name, served.feed.symbol) for venue in served.venues]
            alarms = store.disagreements.open(name)
        return FeedOut(
            feed=name,
            symbol=served.feed.symbol,
            horizon_minutes=served.feed.horizon_minutes,
            cadence_seconds=60,
            model_id=served.model.model_id,
            model_name=served.model.name,
            market=self._app.market,
            market_time=iso(clock.now_ms()),
            venues=venues,
            srs=SrsOut(
                sha256=served.keys.srs_hash, development=any(keys.srs_is_development for keys in served.all_keys)
            ),
            chain=ChainOut(
                chain_id=target.chain.chain_id, verifier=target.verifier, batch_verifier=target.batch_verifier
            )
            if target
            else None,
            last_tick=TickOut.of(tick) if tick else None,
            alarms=[AlarmOut.of(found) for found in alarms],
        )

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
        if proved and "calldata" in include:
            parts["calldata"] = verify_calldata(proved[0])
        return body.model_copy(update=parts)

    def proof(self, proof: Proof, proved_at_ms: int) -> ProofOut:
        return ProofOut.of(proof, proved_at_ms, srs_development=self._under_development_srs(proof))

    def predictions(self, store: Store, found: list[Prediction]) -> list[PredictionOut]:
        """A page of predictions, read in three queries however long it is."""
        ids = [prediction.id for prediction in found]
        seconds, submissions = store.predictions.prove_seconds(ids), store.submissions.of(ids)
        return [
            PredictionOut.of(
                prediction,
                self._app.clock,
                prove_seconds=seconds.get(prediction.id),
                onchain=OnchainOut.of(submissions[prediction.id]) if prediction.id in submissions else None,
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

    def bundle(self, prediction_id: str) -> Bundle:
        with self._app.database.unit_of_work(write=False) as store:
            found, proof, proved_at_ms = self.proved(store, prediction_id)
            served = self.served(found.feed)
            candles = {
                venue: store.candles.between(
                    venue, served.feed.symbol, window_start_ms(found.window_end_ms), found.window_end_ms
                )
                for venue in found.venues
            }
            observations = [self._observation(store, member) for member in proof.members]
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
        )

    def candles(self, feed: str, start_ms: int, end_ms: int, step_s: int) -> tuple[str, Candles]:
        """Candles of the feed's first venue, put together to ``step_s`` seconds each."""
        served = self.served(feed)
        venue = served.venues[0].name
        with self._app.database.unit_of_work(write=False) as store:
            return venue, coarser(store.candles.between(venue, served.feed.symbol, start_ms, end_ms), step_s * 1000)

    def _under_development_srs(self, proof: Proof) -> bool:
        """An SRS that nothing is proved under here any more counts as a development one: nobody vouches for it."""
        known = {
            keys.srs_hash: keys.srs_is_development
            for served in self._app.pipeline.feeds.values()
            for keys in served.all_keys
        }
        return known.get(proof.srs_hash, True)

    def _observation(self, store: Store, member: str | None) -> tuple[int, ...] | None:
        return known_prediction(store, member).observation if member else None

    def _venue(self, store: Store, venue: str, symbol: str) -> VenueOut:
        stored = store.candles.range(venue, symbol)
        end_ms = self._app.clock.last_minute_ms()
        week = (venue, symbol, window_start_ms(end_ms), end_ms)
        return VenueOut(
            venue=venue,
            last_candle=iso(stored[1]) if stored else None,
            gaps=[(iso(first), iso(after)) for first, after in store.candles.gaps(*week)],
            missing_minutes=max(CANDLES_NEEDED - store.candles.count(*week), 0),
        )


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


def read_time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise BadInput(f"{name}: {text[:40]!r} is not a time: write it like 2025-09-15T12:00:00Z") from None


def cursor_of(prediction: Prediction) -> str:
    return base64.urlsafe_b64encode(f"{prediction.window_end_ms}:{prediction.id}".encode()).decode()


def read_cursor(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    try:
        end_ms, prediction_id = base64.urlsafe_b64decode(text.encode()).decode().split(":")
        return int(end_ms), prediction_id
    except (ValueError, binascii.Error):
        raise BadInput("cursor: pass the `next` of the page before, unchanged") from None
