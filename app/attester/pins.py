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
from app.types import ModelId

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
        self._keys = {(feed.model.model_id, keys.circuit.windows > 1): keys for feed in feeds for keys in feed.all_keys}
        self._readings: dict[tuple[ModelId, bool], _Reading] = {}
        self._turn = threading.Lock()

    def refusal(self, model_id: ModelId, *, joint: bool) -> Refused | None:
        """Why nothing may be signed with these keys of ours; none when they are the pinned ones."""
        with self._turn:
            now, known = time.monotonic(), self._readings.get((model_id, joint))
            if known is None or now >= known.look_at:
                known = self._readings[model_id, joint] = self._read(model_id, joint, known, now)
            return known.refused

    def refusals(self) -> list[Refused]:
        """What is wrong with any of our keys; reads what is due, so that no proposal has to wait for it."""
        found = (self.refusal(model_id, joint=joint) for model_id, joint in self._keys)
        return [refused for refused in found if refused is not None]

    def submission_limit_ms(self) -> int | Refused:
        try:
            return 1000 * self.reader.submission_limit_s()
        except (ChainError, Misconfigured) as error:
            return _unreachable(error)

    def _read(self, model_id: ModelId, joint: bool, known: _Reading | None, now: float) -> _Reading:
        try:
            return _Reading(self._compare(model_id, joint), now, now + _READ_AGAIN_S)
        except (ChainError, Misconfigured) as error:
            if known is not None and now - known.said_at < _GOOD_FOR_S:
                log.warning("the registry is taken at its last word: %s", error)
                return replace(known, look_at=now + _ASK_AGAIN_S)
            return _Reading(_unreachable(error), -math.inf, now + _ASK_AGAIN_S)

    def _compare(self, model_id: ModelId, joint: bool) -> Refused | None:
        try:
            pinned = self.reader.model(model_id)
        except UnknownModel as error:
            return Refused(Refusal.MODEL_NOT_REGISTERED, str(error))
        if self.reader.state_of(model_id) is ModelState.FROZEN:
            return Refused(Refusal.MODEL_FROZEN, f"the registry froze model {model_id[:16]}…")
        if joint and pinned.joint_verifier is None:
            return Refused(
                Refusal.NO_JOINT_CIRCUIT, f"the registry has no verifier of joint proofs of {model_id[:16]}…"
            )
        different = pinned.differs_from(self._keys[model_id, joint])
        return Refused(Refusal.KEYS_DIFFER, f"model {model_id[:16]}…: {different}") if different else None


def _unreachable(error: OracleError) -> Refused:
    return Refused(Refusal.REGISTRY_UNREACHABLE, f"the oracle's registry cannot be asked: {error}", retry_after_s=15)
