"""What has happened, in the order in which it was committed: what the stream sends, and what tells every API process
that something is new.

Events are noted while a transaction goes on and written at its end, from what the rows say then. So their numbers are
taken last, and nobody waits for a number while holding a row that somebody else wants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from app.store.counters import last, take
from app.store.tables import attestations, events, outcomes, predictions, proofs, submissions, transactions
from app.types import MINUTES_PER_YEAR, Event, EventKind, OracleAt, Regime, TransactionState, iso

_COUNTER = "events"
Json = dict[str, Any]


class Events:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._noted: dict[tuple[str, ...], Json] = {}

    def note(self, kind: EventKind, prediction_id: str, **facts: Any) -> None:
        """Something has happened to a prediction; of the same thing noted twice in a transaction the last one counts.

        ``facts`` go into the event beside what the rows say.
        """
        if kind is EventKind.ROUND:  # told instead of the transaction that was given up for it
            self._noted.pop((EventKind.TRANSACTION, prediction_id, ""), None)
        self._noted[kind, prediction_id, str(facts.get("attester", ""))] = facts

    def write(self, now_ms: int) -> int:
        """Store what was noted; gives how many events that were. ``now_ms`` is the wall clock's time."""
        made = [
            (kind, prediction_id, data)
            for (kind, prediction_id, *_), facts in self._noted.items()
            if (data := self._data(EventKind(kind), prediction_id, facts)) is not None
        ]
        self._noted = {}
        if not made:
            return 0
        first = take(self._connection, _COUNTER, len(made)) - len(made) + 1
        rows = [
            {
                "seq": first + place,
                "kind": kind,
                "feed": data["feed"],
                "prediction_id": prediction_id,
                "data": json.dumps(data, separators=(",", ":")),
                "at_ms": now_ms,
            }
            for place, (kind, prediction_id, data) in enumerate(made)
        ]
        self._connection.execute(sa.insert(events), rows)
        return len(rows)

    def last(self) -> int:
        """Number of the newest event, 0 before the first."""
        return last(self._connection, _COUNTER)

    def oldest(self) -> int | None:
        """Number of the oldest event that is still kept."""
        found: int | None = self._connection.execute(sa.select(sa.func.min(events.c.seq))).scalar_one()
        return found

    def after(self, seq: int, limit: int, up_to: int | None = None) -> list[Event]:
        """The events with ``seq < number <= up_to``, oldest first."""
        query = sa.select(events).where(events.c.seq > seq).order_by(events.c.seq).limit(limit)
        if up_to is not None:
            query = query.where(events.c.seq <= up_to)
        return [
            Event(seq=row.seq, kind=EventKind(row.kind), feed=row.feed, data=row.data)
            for row in self._connection.execute(query)
        ]

    def prune(self, before_ms: int, limit: int) -> int:
        """Forget up to ``limit`` events from before a time of the wall clock; gives how many."""
        old = sa.select(events.c.seq).where(events.c.at_ms < before_ms).order_by(events.c.seq).limit(limit)
        return self._connection.execute(sa.delete(events).where(events.c.seq.in_(old))).rowcount

    def _data(self, kind: EventKind, prediction_id: str, facts: Json) -> Json | None:
        """What the rows say now; none when the prediction, or what is told of it, is not there."""
        found = self._connection.execute(_forecast(prediction_id)).one_or_none()
        if found is None:
            return None
        told = _told(found._mapping)
        if kind is EventKind.PREDICTION:
            return told
        if kind is EventKind.FAILURE:
            return {name: told[name] for name in ("feed", "id", "window_end", "model_id", "status")} | {
                "reason": found.failure
            }
        more = _MORE[kind](self._connection, prediction_id, facts)
        if more is None:
            return None
        short = {name: told[name] for name in ("feed", "id", "window_end")}
        return (told if kind in (EventKind.PROOF, EventKind.OUTCOME) else short) | more


def _forecast(prediction_id: str) -> sa.Select[Any]:
    names = ("feed", "id", "window_end_ms", "regime", "p_high", "vol_annualised", "model_id", "status", "failure")
    return sa.select(*(predictions.c[name] for name in names)).where(predictions.c.id == prediction_id)


def _told(row: Mapping[Any, Any]) -> Json:
    names = ("regime", "p_high", "vol_annualised", "model_id", "status")
    told = {"feed": row["feed"], "id": row["id"], "window_end": iso(row["window_end_ms"])}
    return told | {name: row[name] for name in names}


def _proof(connection: sa.Connection, prediction_id: str, facts: Json) -> Json | None:
    seconds = ("witness_seconds", "prove_seconds", "verify_seconds")
    columns = [proofs.c[name] for name in (*seconds, "vk_hash", "proof")]
    row = connection.execute(sa.select(*columns).where(proofs.c.prediction_id == prediction_id)).one_or_none()
    if row is None:
        return None
    told = {name: getattr(row, name) for name in (*seconds, "vk_hash")}
    return told | {"commitment": "0x" + bytes(row.proof[:64]).hex()}


def _submission(connection: sa.Connection, prediction_id: str, facts: Json) -> Json | None:
    """How it stands on the chain; where it is not on its way any more, ``facts`` say what it was."""
    sent = submissions.outerjoin(transactions, submissions.c.tx_hash == transactions.c.tx_hash)
    wanted = [submissions.c.prediction_id == prediction_id]
    if "chain_id" in facts:
        wanted.append(submissions.c.chain_id == facts["chain_id"])
    columns = (
        submissions,
        transactions.c.state,
        transactions.c.gas_used,
        transactions.c.block_number.label("in_block"),
    )
    row = connection.execute(sa.select(*columns).select_from(sent).where(*wanted)).first()
    if row is None:
        gone = {"chain_id": None, "contract": None, "tx_hash": None, "ours": True}
        return gone | facts | {"state": "withdrawn", "block_number": None, "gas_used": None}
    return {
        "chain_id": row.chain_id,
        "contract": row.contract,
        "tx_hash": row.tx_hash,
        "state": row.state if row.ours else TransactionState.CONFIRMED,
        "block_number": row.in_block if row.ours else row.block_number,
        "gas_used": row.gas_used,
        "ours": row.ours,
    }


def _attestation(connection: sa.Connection, prediction_id: str, facts: Json) -> Json | None:
    oracle: OracleAt = facts["oracle"]
    row = connection.execute(
        sa.select(attestations.c.outcome, attestations.c.signer).where(
            attestations.c.prediction_id == prediction_id,
            attestations.c.chain_id == oracle.chain_id,
            attestations.c.contract == oracle.contract,
            attestations.c.attester == facts["attester"],
        )
    ).one()
    return {"attester": facts["host"], "outcome": row.outcome, "signer": row.signer}


def _outcome(connection: sa.Connection, prediction_id: str, facts: Json) -> Json | None:
    columns = (outcomes.c.realised, outcomes.c.missing, outcomes.c.high_said)
    row = connection.execute(sa.select(*columns).where(outcomes.c.prediction_id == prediction_id)).one_or_none()
    if row is None:
        return None
    if row.realised is None:
        unknown = dict.fromkeys(("realised_vol_annualised", "realised_regime", "right"))
        return unknown | {"missing": row.missing}
    high = bool(facts["high"])
    return {
        "realised_vol_annualised": row.realised * MINUTES_PER_YEAR**0.5,
        "realised_regime": Regime.HIGH if high else Regime.LOW,
        "right": high == row.high_said,
        "missing": None,
    }


_MORE = {
    EventKind.PROOF: _proof,
    EventKind.ATTESTATION: _attestation,
    EventKind.TRANSACTION: _submission,
    EventKind.ROUND: _submission,
    EventKind.OUTCOME: _outcome,
}
