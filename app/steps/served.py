"""A feed with everything that is needed to serve it."""

from __future__ import annotations

from dataclasses import dataclass

from app.features.variation import VariationSpec
from app.inference.network import Network
from app.inference.release import ReleasedModel
from app.types import Feed, Keys, Markets


@dataclass(frozen=True, slots=True)
class ServedFeed:
    feed: Feed
    model: ReleasedModel
    spec: VariationSpec
    network: Network
    keys: Keys
    markets: Markets
    """What is read at which venue."""
    quorum: int
    """How many of them must have a minute."""
    batch_keys: Keys | None = None
    """Of the model's circuit for windows of several feeds, where there is one and it is used."""

    @property
    def all_keys(self) -> tuple[Keys, ...]:
        """Whatever a proof of this feed may be made with."""
        return (self.keys,) if self.batch_keys is None else (self.keys, self.batch_keys)
