"""An attester's journal: the one input commitment that it signs for a window of a feed by a model.

A row is written before the signature is made and never changed or deleted, so that two signatures that contradict each
other cannot leave, whatever is killed or asked twice in between.
"""

from __future__ import annotations

import sqlalchemy as sa

from app.errors import AlreadySigned
from app.store.dialect import insert_new
from app.store.tables import signed_commitments
from app.types import Claim, iso


class SignedCommitments:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def bind(self, claim: Claim, now_ms: int) -> None:
        """Bind every window of the claim to its input commitment, or find them bound to it already.

        Raises `AlreadySigned` when one of them is bound to another: let it end the unit of work, so that none is bound.
        """
        # In one order for everybody: on PostgreSQL two claims that wait for each other's rows would end in a deadlock.
        for feed, end_ms in sorted(claim.windows):
            row = {
                "feed": feed,
                "window_end_ms": end_ms,
                "model_id": claim.model_id,
                "input_commitment": claim.input_commitment.hex(),
                "at_ms": now_ms,
            }
            self._connection.execute(insert_new(self._connection, signed_commitments).values(row))
        conflict = self.conflict(claim)
        if conflict:
            raise AlreadySigned(conflict)

    def conflict(self, claim: Claim) -> str | None:
        """Which window of the claim is bound to another commitment, in words; none when it may be signed."""
        stated = claim.input_commitment.hex()
        for feed, end_ms in claim.windows:
            bound = self._bound(feed, end_ms, claim.model_id)
            if bound not in (None, stated):
                return f"{feed} at {iso(end_ms)}: input commitment 0x{bound} was signed before, 0x{stated} is not"
        return None

    def _bound(self, feed: str, end_ms: int, model_id: str) -> str | None:
        query = sa.select(signed_commitments.c.input_commitment).where(
            signed_commitments.c.feed == feed,
            signed_commitments.c.window_end_ms == end_ms,
            signed_commitments.c.model_id == model_id,
        )
        return self._connection.execute(query).scalar_one_or_none()
