"""what became of forecasts, events in their order, how processes stand, the order in which predictions came

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COUNTERS = ("events", "outcomes", "predictions")


def upgrade() -> None:
    op.add_column(
        "predictions",
        sa.Column("seq", sa.BigInteger(), nullable=False, server_default="0", comment="order of arrival"),
    )
    op.create_index(op.f("ix_predictions_feed_seq"), "predictions", ["feed", "seq"])
    # Former ones came in the order of their windows, as far as anybody can tell.
    op.execute(
        "UPDATE predictions SET seq = ranked.place FROM "
        "(SELECT id, row_number() OVER (ORDER BY window_end_ms, id) AS place FROM predictions) AS ranked "
        "WHERE ranked.id = predictions.id"
    )
    for name in COUNTERS:
        op.execute(f"INSERT INTO counters (name, value) VALUES ('{name}', 0)")  # noqa: S608  our own names
    op.execute("UPDATE counters SET value = (SELECT count(*) FROM predictions) WHERE name = 'predictions'")
    op.create_table(
        "outcomes",
        sa.Column("feed", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=8), nullable=False, comment="live, or backtest: nobody was served that"),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("window_end_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prediction_id", sa.String(length=32), nullable=True, comment="null: of a back-test"),
        sa.Column("p_high", sa.Float(precision=53), nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=False, comment="logit of high minus logit of low"),
        sa.Column("high_said", sa.Boolean(), nullable=False),
        sa.Column("vol_annualised", sa.Float(precision=53), nullable=False, comment="the forecast"),
        sa.Column("realised", sa.Float(precision=53), comment="deviation of the horizon's one-minute log returns"),
        sa.Column("past_60", sa.Float(precision=53), comment="the same of the hour before the window's end"),
        sa.Column("past_240", sa.Float(precision=53), comment="and of four hours"),
        sa.Column("missing", sa.Text(), comment="why there is no realised volatility"),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="order of arrival"),
        sa.Column("judged_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name=op.f("fk_outcomes_prediction_id")),
        sa.PrimaryKeyConstraint("feed", "origin", "model_id", "window_end_ms", name=op.f("pk_outcomes")),
    )
    op.create_index(op.f("ix_outcomes_feed_origin_seq"), "outcomes", ["feed", "origin", "seq"])
    op.create_index(op.f("ix_outcomes_prediction_id"), "outcomes", ["prediction_id"])
    op.create_table(
        "events",
        sa.Column(
            "seq",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="without gaps, in the order of commits",
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("feed", sa.String(length=64), nullable=False),
        sa.Column("prediction_id", sa.String(length=32), nullable=False),
        sa.Column("data", sa.Text(), nullable=False, comment="JSON as it is sent"),
        sa.Column("at_ms", sa.BigInteger(), nullable=False, comment="wall clock"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name=op.f("fk_events_prediction_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_at_ms"), "events", ["at_ms"])
    op.create_table(
        "standings",
        sa.Column("owner", sa.String(length=128), nullable=False, comment="host:pid of a pipeline's process"),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False, comment="wall clock: when it last said so"),
        sa.Column("standing", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_standings")),
    )


def downgrade() -> None:
    """What became of forecasts can be worked out again while their candles are there; events cannot."""
    for table in ("standings", "events", "outcomes"):
        op.drop_table(table)
    for name in COUNTERS:
        op.execute(f"DELETE FROM counters WHERE name = '{name}'")  # noqa: S608  our own names
    op.drop_index(op.f("ix_predictions_feed_seq"), "predictions")
    op.drop_column("predictions", "seq")
