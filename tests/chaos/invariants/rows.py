"""Predictions, jobs and events, by what the tables say of each other."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.store.backup import COUNTERS_JUMP
from app.types import MINUTE_MS, ModelId, prediction_id
from tests.chaos.invariants.look import Lasting, Look

_PROVED = "('proved', 'submitted', 'confirmed')"
_JOB_OF = {
    "predicted": "queued",
    "proving": "leased",
    "failed": "failed",
    "proved": "done",
    "submitted": "done",
    "confirmed": "done",
}


@dataclass(slots=True)
class OnePredictionPerWindow:
    """By feed, window and model; with the id that these have; and none that was there is gone."""

    name: str = "one prediction per window"
    seen: set[str] = field(default_factory=set)

    def violations(self, look: Look) -> list[str]:
        rows = look.rows("SELECT id, feed, window_end_ms, model_id FROM predictions")
        keys = [(row.feed, row.window_end_ms, row.model_id) for row in rows]
        double = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
        ids = {row.id for row in rows}
        gone = sorted(self.seen - ids)
        new = [row for row in rows if row.id not in self.seen]
        self.seen |= ids
        wrong = [row.id for row in new if not _is_own(row.id, row.feed, row.window_end_ms, row.model_id)]
        return (
            [f"two predictions of {feed} at {end_ms}" for feed, end_ms, _ in double]
            + [f"prediction {one} is gone" for one in gone]
            + [f"prediction {one} has an id of another window" for one in wrong]
        )


def _is_own(stored: str, feed: str, window_end_ms: int, model: str) -> bool:
    return window_end_ms % MINUTE_MS == 0 and stored == prediction_id(feed, window_end_ms, ModelId(model))


@dataclass(slots=True)
class NoJobStuck:
    """A lease that has lapsed is taken up, what waits is proved or shed, and job and prediction say the same."""

    name: str = "no job stuck"
    lapsed_s: float = 30.0
    """For which a lapsed lease may lie there: while the provers are away."""
    queued_s: float = 150.0
    """A backlog is proved from its newest window on, and shed beyond the catch-up time of the rig."""
    lapsed: Lasting = field(init=False)
    queued: Lasting = field(init=False)

    def __post_init__(self) -> None:
        self.lapsed, self.queued = Lasting(self.lapsed_s), Lasting(self.queued_s)

    def violations(self, look: Look) -> list[str]:
        rows = look.rows(
            "SELECT p.id, p.status, j.state, j.wait_until_ms FROM predictions p "
            "LEFT JOIN proof_jobs j ON j.prediction_id = p.id "
            f"WHERE p.status NOT IN {_PROVED} OR j.state IS NULL OR j.state <> 'done'"
        )
        lapsed = [row.id for row in rows if row.state == "leased" and row.wait_until_ms < look.wall_ms]
        queued = [row.id for row in rows if row.state in ("queued", "leased")]
        return (
            [f"the lease of {one} lapsed and nobody took it up" for one in self.lapsed.too_long(lapsed, look.now_s)]
            + [f"the job of {one} is stuck" for one in self.queued.too_long(queued, look.now_s)]
            + [
                f"prediction {row.id} is {row.status} and its job {row.state}"
                for row in rows
                if row.state != _JOB_OF[row.status]
            ]
        )


@dataclass(slots=True)
class NoEventMissing:
    """Numbers from the first on without a gap, one event of each prediction and of each proof.

    A database that was restored goes on a known number further, so that no follower takes a new event for an old one.
    """

    name: str = "no event missing"

    def violations(self, look: Look) -> list[str]:
        steps = look.rows(
            "SELECT seq, step FROM (SELECT seq, seq - lag(seq, 1, 0) OVER (ORDER BY seq) AS step FROM events) AS steps "
            "WHERE step NOT IN (1, :restored)",
            restored=COUNTERS_JUMP + 1,
        )
        return [f"before event {row.seq} there are {row.step - 1} missing" for row in steps] + [
            words
            for kind, table in (("prediction", "predictions"), ("proof", "proofs"))
            for words in self._one_each(look, kind, table)
        ]

    def _one_each(self, look: Look, kind: str, table: str) -> list[str]:
        key = "id" if table == "predictions" else "prediction_id"
        rows = look.rows(
            f"SELECT t.{key} AS one, count(e.seq) AS events FROM {table} t "
            f"LEFT JOIN events e ON e.prediction_id = t.{key} AND e.kind = '{kind}' "
            f"GROUP BY t.{key} HAVING count(e.seq) <> 1"
        )
        return [f"{row.one} has {row.events} {kind} events" for row in rows]
