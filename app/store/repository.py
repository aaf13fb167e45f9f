"""All SQL goes through here. A `Store` lives as long as one transaction and never commits."""

from __future__ import annotations

import sqlalchemy as sa

from app.store.attempts import Attempts
from app.store.attestations import Attestations
from app.store.candle_rows import CandleRows
from app.store.disagreements import Disagreements
from app.store.jobs import ProofJobs
from app.store.predictions import Predictions
from app.store.signed_commitments import SignedCommitments
from app.store.submissions import Submissions


class Store:
    def __init__(self, connection: sa.Connection) -> None:
        self.candles = CandleRows(connection)
        self.predictions = Predictions(connection)
        self.jobs = ProofJobs(connection)
        self.submissions = Submissions(connection)
        self.attempts = Attempts(connection)
        self.disagreements = Disagreements(connection)
        self.attestations = Attestations(connection)
        self.signed_commitments = SignedCommitments(connection)
