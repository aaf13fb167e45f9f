"""Bundles as they are sent, the last few kept: making one reads 30,000 candles, and everybody wants the newest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from app.web.caching import packed
from app.web.reading import Reader

_KEPT = 8
"""At 2 MB each."""


@dataclass(frozen=True, slots=True)
class SentBundle:
    """A bundle's bytes, plain and packed with gzip."""

    raw: bytes
    packed: bytes


class Bundles:
    """Nothing in a bundle changes but the signatures, which it gets one after the other."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._made: OrderedDict[tuple[str, tuple[str, ...]], SentBundle] = OrderedDict()
        self._guard = threading.Lock()

    def of(self, prediction_id: str) -> SentBundle:
        """Raises `UnknownPrediction`, `ProofNotReady`, or `CandlesGone` where it was not kept."""
        key = (prediction_id, self._reader.signers(prediction_id))
        with self._guard:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        raw = self._reader.bundle(prediction_id).model_dump_json().encode()
        made = SentBundle(raw, packed(raw))
        with self._guard:
            self._made[key] = made
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return made
