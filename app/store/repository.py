"""All SQL goes through here. A `Store` lives as long as one transaction and never commits."""

from __future__ import annotations

import sqlalchemy as sa

from app.store.attempts import Attempts
from app.store.attestations import Attestations
from app.store.candle_rows import CandleRows
from app.store.dialect import size_bytes
from app.store.disagreements import Disagreements
from app.store.events import Events
from app.store.figures import Figures
from app.store.jobs import ProofJobs
from app.store.leases import Leases
from app.store.outcomes import Outcomes
from app.store.predictions import Predictions
from app.store.signed_commitments import SignedCommitments
from app.store.standings import Standings
from app.store.submissions import Submissions
from app.store.venue_rests import VenueRests


class Store:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.candles = CandleRows(connection)
        self.venues = VenueRests(connection)
        self.events = Events(connection)
        self.predictions = Predictions(connection, self.events)
        self.jobs = ProofJobs(connection, self.events)
        self.submissions = Submissions(connection, self.events)
        self.attempts = Attempts(connection)
        self.disagreements = Disagreements(connection)
        self.attestations = Attestations(connection, self.events)
        self.outcomes = Outcomes(connection)
        self.standings = Standings(connection)
        self.leases = Leases(connection)
        self.figures = Figures(connection)
        self.signed_commitments = SignedCommitments(connection)

    def size_bytes(self) -> int:
        """Room that the whole database takes, without what deleted rows left free in an SQLite file."""
        return size_bytes(self._connection)
