"""what one process at a time does, of several on one database; the events of a prediction are found by an index

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False, comment="host:pid"),
        sa.Column("until_ms", sa.BigInteger(), nullable=False, comment="wall clock: when anybody may take it"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_index(op.f("ix_events_prediction_id"), "events", ["prediction_id"])


def downgrade() -> None:
    """Leases are of running processes: nothing is lost with them."""
    op.drop_index(op.f("ix_events_prediction_id"), "events")
    op.drop_table("leases")
