"""The tables. Migrations under `migrations/` build them; a test holds the two together.

Times are int64 milliseconds UTC, of the market's clock unless a column says otherwise.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

candles = Table(
    "candles",
    metadata,
    Column("venue", String(32), primary_key=True),
    Column("symbol", String(32), primary_key=True),
    Column("open_time_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False, comment="0: as the venue showed it first"),
    Column("open", Float(53), nullable=False),
    Column("high", Float(53), nullable=False),
    Column("low", Float(53), nullable=False),
    Column("close", Float(53), nullable=False),
    Column("volume", Float(53), nullable=False),
    Column("seq", BigInteger, nullable=False, comment="of the write that it came in"),
    sqlite_with_rowid=False,
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

candle_coverage = Table(
    "candle_coverage",
    metadata,
    Column("venue", String(32), primary_key=True),
    Column("symbol", String(32), primary_key=True),
    Column("start_ms", BigInteger, nullable=False, comment="the venue was asked for all minutes from here"),
    Column("end_ms", BigInteger, nullable=False, comment="to here, exclusive, and answered"),
)

venue_rests = Table(
    "venue_rests",
    metadata,
    Column("venue", String(32), primary_key=True),
    Column("failures", Integer, nullable=False, comment="in a row"),
    Column("until_ms", BigInteger, nullable=False, comment="wall clock"),
    Column("reason", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False, comment="wall clock: of the first failure"),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("feed", String(64), nullable=False),
    Column("window_end_ms", BigInteger, nullable=False),
    Column("model_id", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("failure", Text),
    Column("regime", String(8), nullable=False),
    Column("p_high", Float(53), nullable=False),
    Column("vol_annualised", Float(53), nullable=False),
    Column("network_outputs", JSON, nullable=False),
    Column("observation", JSON, nullable=False),
    Column("markets", JSON, nullable=False, comment="venue to symbol, of the venues behind it"),
    Column("candles_sha256", String(64), nullable=False),
    Column("predicted_at_ms", BigInteger, nullable=False),
    Column("quorum", Integer, nullable=False, server_default="1", comment="venues that a known minute takes"),
    Column("left_out", JSON(none_as_null=True), comment="venue to reason, of the feed's others; null: there are none"),
    Column("candles_as_of", BigInteger, nullable=False, server_default="1", comment="seq to read its candles at"),
    Column("seq", BigInteger, nullable=False, server_default="0", comment="order of arrival"),
    UniqueConstraint("feed", "window_end_ms", "model_id"),
    Index(None, "feed", "status", "window_end_ms"),
    Index(None, "feed", "seq"),
)

proofs = Table(
    "proofs",
    metadata,
    Column("prediction_id", ForeignKey("predictions.id"), primary_key=True),
    Column("proof", LargeBinary, nullable=False),
    Column("instances", JSON, nullable=False),
    Column("vk_hash", String(64), nullable=False),
    Column("srs_hash", String(64), nullable=False),
    Column("witness_seconds", Float(53), nullable=False),
    Column("prove_seconds", Float(53), nullable=False),
    Column("verify_seconds", Float(53), nullable=False),
    Column("proved_at_ms", BigInteger, nullable=False),
    Column("slot", Integer, nullable=False, server_default="0", comment="place among the windows of the proof"),
    Column("members", JSON(none_as_null=True), comment="of a joint proof: prediction per slot, null in an empty one"),
)

proof_jobs = Table(
    "proof_jobs",
    metadata,
    Column("prediction_id", ForeignKey("predictions.id"), primary_key=True),
    Column("window_end_ms", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("owner", String(128)),
    Column("wait_until_ms", BigInteger, nullable=False, comment="wall clock: lease end, or when to try again"),
    Column("last_error", Text),
    Column("queued_at_ms", BigInteger, nullable=False, server_default="0", comment="wall clock: waiting since"),
    Index(None, "state", "window_end_ms"),
)

proof_attempts = Table(
    "proof_attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("prediction_id", ForeignKey("predictions.id"), nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text),
    Column("owner", String(128), nullable=False),
    Column("windows", Integer, nullable=False, comment="how many were proved together"),
    Column("queue_seconds", Float(53)),
    Column("witness_seconds", Float(53)),
    Column("prove_seconds", Float(53)),
    Column("verify_seconds", Float(53)),
    Column("at_ms", BigInteger, nullable=False, comment="wall clock"),
)

disagreements = Table(
    "disagreements",
    metadata,
    Column("prediction_id", ForeignKey("predictions.id"), primary_key=True),
    Column("feed", String(64), nullable=False),
    Column("window_end_ms", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("window", LargeBinary, nullable=False, comment="gzip of JSON: everything needed to study it"),
    Column("cleared_at_ms", BigInteger, comment="wall clock: when somebody had looked"),
)

attestations = Table(
    "attestations",
    metadata,
    Column("prediction_id", ForeignKey("predictions.id"), primary_key=True),
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("contract", String(42), primary_key=True, comment="the oracle that it is for"),
    Column("attester", String(255), primary_key=True, comment="URL, or own"),
    Column("outcome", String(12), nullable=False),
    Column("signer", String(42)),
    Column("r", LargeBinary),
    Column("vs", LargeBinary),
    Column("reason", Text),
    Column("at_ms", BigInteger, nullable=False, comment="wall clock"),
)

signed_commitments = Table(
    "signed_commitments",
    metadata,
    Column("feed", String(64), primary_key=True),
    Column("window_end_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("model_id", String(64), primary_key=True),
    Column("input_commitment", String(64), nullable=False, comment="the only one that this attester signs"),
    Column("at_ms", BigInteger, nullable=False, comment="wall clock"),
)

transactions = Table(
    "transactions",
    metadata,
    Column("tx_hash", String(66), primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("contract", String(42), nullable=False),
    Column("sender", String(42), nullable=False),
    Column("nonce", BigInteger, nullable=False, comment="attempts at the same thing share it"),
    Column("raw_tx", LargeBinary, nullable=False),
    Column("max_fee_wei", BigInteger, nullable=False, comment="per gas"),
    Column("max_tip_wei", BigInteger, nullable=False, comment="per gas"),
    Column("state", String(10), nullable=False),
    Column("block_number", BigInteger),
    Column("block_hash", String(66)),
    Column("gas_used", BigInteger),
    Column("sent_at_ms", BigInteger, nullable=False, comment="wall clock"),
    Index(None, "chain_id", "state"),
    Index(None, "chain_id", "sender", "nonce"),
)

submissions = Table(
    "submissions",
    metadata,
    Column("prediction_id", ForeignKey("predictions.id"), primary_key=True),
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("contract", String(42), nullable=False),
    Column("tx_hash", String(66), nullable=False, index=True, comment="of ours: in transactions"),
    Column("ours", Boolean, nullable=False, comment="false: somebody else published it"),
    Column("block_number", BigInteger),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("feed", String(64), primary_key=True),
    Column("origin", String(8), primary_key=True, comment="live, or backtest: nobody was served that"),
    Column("model_id", String(64), primary_key=True),
    Column("window_end_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("prediction_id", ForeignKey("predictions.id"), comment="null: of a back-test"),
    Column("p_high", Float(53), nullable=False),
    Column("score", Float(53), nullable=False, comment="logit of high minus logit of low"),
    Column("high_said", Boolean, nullable=False),
    Column("vol_annualised", Float(53), nullable=False, comment="the forecast"),
    Column("realised", Float(53), comment="deviation of the horizon's one-minute log returns"),
    Column("past_60", Float(53), comment="the same of the hour before the window's end"),
    Column("past_240", Float(53), comment="and of four hours"),
    Column("missing", Text, comment="why there is no realised volatility"),
    Column("seq", BigInteger, nullable=False, comment="order of arrival"),
    Column("judged_at_ms", BigInteger, nullable=False),
    Index(None, "feed", "origin", "seq"),
    Index(None, "prediction_id"),
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False, comment="without gaps, in the order of commits"),
    Column("kind", String(16), nullable=False),
    Column("feed", String(64), nullable=False),
    Column("prediction_id", ForeignKey("predictions.id"), nullable=False),
    Column("data", Text, nullable=False, comment="JSON as it is sent"),
    Column("at_ms", BigInteger, nullable=False, comment="wall clock"),
    Index(None, "at_ms"),
    Index(None, "prediction_id"),
)

standings = Table(
    "standings",
    metadata,
    Column("owner", String(128), primary_key=True, comment="host:pid of a pipeline's process"),
    Column("seen_ms", BigInteger, nullable=False, comment="wall clock: when it last said so"),
    Column("standing", JSON, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("owner", String(128), nullable=False, comment="host:pid"),
    Column("until_ms", BigInteger, nullable=False, comment="wall clock: when anybody may take it"),
)
