"""Whether our keys are those that the oracle's registry pins: a signature over other keys' commitments helps nobody."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.attester.proposal import AttestedFeed, Refusal, Refused
from app.chain.registry import ModelState, OracleReader
from app.errors import ChainError, Misconfigured, OracleError, UnknownModel
from app.types import Keys, ModelId

log = logging.getLogger(__name__)

_READ_AGAIN_S = 60.0
_ASK_AGAIN_S = 5.0
_GOOD_FOR_S = 600.0
"""So long a registry that does not answer is believed to say what it said last."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """Times are of `time.monotonic`."""

    refused: Refused | None
    said_at: float
    look_at: float


class Pins:
    """What the registry says of our models; read again every minute, as a model may be frozen at any time."""

    def __init__(self, reader: OracleReader, feeds: Iterable[AttestedFeed]) -> None:
        self.reader = reader
        self._keys: dict[ModelId, tuple[Keys, ...]] = {feed.model.model_id: feed.all_keys for feed in feeds}
        self._readings: dict[ModelId, _Reading] = {}
        self._turn = threading.Lock()

    @property
    def model_ids(self) -> tuple[ModelId, ...]:
        return tuple(self._keys)

    def refusal(self, model_id: ModelId) -> Refused | None:
        """Why nothing may be signed under this model of ours; none when our keys are the pinned ones."""
        with self._turn:
            now, known = time.monotonic(), self._readings.get(model_id)
            if known is None or now >= known.look_at:
                known = self._readings[model_id] = self._read(model_id, known, now)
            return known.refused

    def refresh(self) -> None:
        """Read what is due, so that no proposal has to wait for it."""
        for model_id in self._keys:
            self.refusal(model_id)

    def submission_limit_ms(self) -> int | Refused:
        try:
            return 1000 * self.reader.submission_limit_s()
        except (ChainError, Misconfigured) as error:
            return _unreachable(error)

    def _read(self, model_id: ModelId, known: _Reading | None, now: float) -> _Reading:
        try:
            return _Reading(self._compare(model_id), now, now + _READ_AGAIN_S)
        except (ChainError, Misconfigured) as error:
            if known is not None and now - known.said_at < _GOOD_FOR_S:
                log.warning("the registry is taken at its last word: %s", error)
                return replace(known, look_at=now + _ASK_AGAIN_S)
            return _Reading(_unreachable(error), -math.inf, now + _ASK_AGAIN_S)

    def _compare(self, model_id: ModelId) -> Refused | None:
        try:
            pinned = self.reader.model(model_id)
        except UnknownModel as error:
            return Refused(Refusal.MODEL_NOT_REGISTERED, str(error))
        if self.reader.state_of(model_id) is ModelState.FROZEN:
            return Refused(Refusal.MODEL_FROZEN, f"the registry froze model {model_id[:16]}…")
        for keys in self._keys[model_id]:
            different = pinned.differs_from(keys)
            if different:
                return Refused(Refusal.KEYS_DIFFER, f"model {model_id[:16]}…: {different}")
        return None


def _unreachable(error: OracleError) -> Refused:
    return Refused(Refusal.REGISTRY_UNREACHABLE, f"the oracle's registry cannot be asked: {error}", retry_after_s=15)
