"""revisions of candles, what was asked for, venues that rest, the sources of a prediction

Revision ID: 0004
Revises: 0003
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEPT = ("venue", "symbol", "open_time_ms", "open", "high", "low", "close", "volume")


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    op.execute("INSERT INTO counters (name, value) VALUES ('candles', 0)")
    op.execute(
        "UPDATE counters SET value = 1 WHERE EXISTS (SELECT * FROM candles) OR EXISTS (SELECT * FROM predictions)"
    )
    op.create_table(
        "candle_coverage",
        sa.Column("venue", sa.String(length=32), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False, comment="the venue was asked for all minutes from here"),
        sa.Column("end_ms", sa.BigInteger(), nullable=False, comment="to here, exclusive, and answered"),
        sa.PrimaryKeyConstraint("venue", "symbol", name=op.f("pk_candle_coverage")),
    )
    op.execute(
        "INSERT INTO candle_coverage (venue, symbol, start_ms, end_ms) "
        "SELECT venue, symbol, min(open_time_ms), max(open_time_ms) + 60000 FROM candles GROUP BY venue, symbol"
    )
    op.create_table(
        "venue_rests",
        sa.Column("venue", sa.String(length=32), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, comment="in a row"),
        sa.Column("until_ms", sa.BigInteger(), nullable=False, comment="wall clock"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False, comment="wall clock: of the first failure"),
        sa.PrimaryKeyConstraint("venue", name=op.f("pk_venue_rests")),
    )
    _remake_candles(
        [
            sa.Column(
                "revision",
                sa.Integer(),
                autoincrement=False,
                nullable=False,
                comment="0: as the venue showed it first",
            ),
            sa.Column("seq", sa.BigInteger(), nullable=False, comment="of the write that it came in"),
        ],
        (*KEPT[:3], "revision"),
        {"revision": 0, "seq": 1},
    )
    # In place: SQLite cannot remake a table that others refer to. The defaults are what former predictions had.
    op.execute("ALTER TABLE predictions RENAME COLUMN venues TO markets")
    _rewrite_sources(lambda feed, venues: dict.fromkeys(venues, _symbol(feed)))
    for column in (
        sa.Column(
            "quorum",
            sa.Integer(),
            nullable=False,
            server_default="1",
            comment="venues that a known minute takes",
        ),
        sa.Column(
            "left_out",
            sa.JSON(none_as_null=True),
            nullable=True,
            comment="venue to reason, of the feed's others; null: there are none",
        ),
        sa.Column(
            "candles_as_of",
            sa.BigInteger(),
            nullable=False,
            server_default="1",
            comment="seq to read its candles at",
        ),
    ):
        op.add_column("predictions", column)
    _tell("venue to symbol, of the venues behind it")


def downgrade() -> None:
    """Only what a venue showed first can be told in the older schema; the markets' symbols cannot."""
    for column in ("candles_as_of", "left_out", "quorum"):
        op.drop_column("predictions", column)
    _rewrite_sources(lambda _, markets: list(markets))
    _tell(None)
    op.execute("ALTER TABLE predictions RENAME COLUMN markets TO venues")
    op.execute("DELETE FROM candles WHERE revision > 0")
    _remake_candles([], KEPT[:3], {})
    for table in ("venue_rests", "candle_coverage", "counters"):
        op.drop_table(table)


def _remake_candles(added: Sequence[sa.Column[int]], key: Sequence[str], given: Mapping[str, int]) -> None:
    """By way of a copy without a key, as the key itself changes; ``given`` is what the added columns start with."""
    op.execute("CREATE TABLE former_candles AS SELECT * FROM candles")
    op.drop_table("candles")
    op.create_table(
        "candles",
        sa.Column("venue", sa.String(length=32), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("open_time_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Float(precision=53), nullable=False) for name in KEPT[3:]),
        *added,
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_candles")),
        sqlite_with_rowid=False,
    )
    former = sa.table("former_candles", *map(sa.column, KEPT))
    remade = sa.table("candles", *map(sa.column, (*KEPT, *given)))
    rows = sa.select(*former.c, *(sa.literal(value).label(name) for name, value in given.items()))
    op.execute(sa.insert(remade).from_select([*KEPT, *given], rows))
    op.drop_table("former_candles")


def _rewrite_sources(change: Callable[[str, Any], Any]) -> None:
    """Change what stands in ``markets``, given the feed and what stood there: predictions with the same at once."""
    text = sa.literal_column("CAST(markets AS TEXT)")
    predictions = sa.table("predictions", sa.column("feed"), sa.column("markets", sa.JSON()))
    connection = op.get_bind()
    for feed, stood in connection.execute(sa.select(predictions.c.feed, text).distinct()).all():
        connection.execute(
            sa.update(predictions)
            .where(predictions.c.feed == feed, text == stood)
            .values(markets=change(feed, json.loads(stood)))
        )


def _symbol(feed: str) -> str:
    """``btc-usdt-4h`` was BTC/USDT at every venue."""
    return "/".join(feed.upper().split("-")[:2])


def _tell(comment: str | None) -> None:
    """SQLite keeps no comments."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("predictions", "markets", existing_type=sa.JSON(), existing_nullable=False, comment=comment)
