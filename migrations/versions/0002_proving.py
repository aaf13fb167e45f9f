"""proofs of several windows, attempts with their timings, disagreements

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("proofs") as batch_op:
        batch_op.add_column(
            sa.Column(
                "slot",
                sa.Integer(),
                server_default="0",
                nullable=False,
                comment="place among the windows of the proof",
            )
        )
        batch_op.add_column(
            sa.Column(
                "members",
                sa.JSON(none_as_null=True),
                nullable=True,
                comment="of a joint proof: prediction per slot, null in an empty one",
            )
        )
    with op.batch_alter_table("proof_jobs") as batch_op:
        batch_op.add_column(
            sa.Column(
                "queued_at_ms",
                sa.BigInteger(),
                server_default="0",
                nullable=False,
                comment="wall clock: waiting since",
            )
        )
    with op.batch_alter_table("submissions") as batch_op:
        batch_op.drop_constraint(op.f("uq_submissions_tx_hash"), type_="unique")
        batch_op.alter_column(
            "tx_hash",
            existing_type=sa.String(length=66),
            existing_nullable=False,
            comment="shared by the windows of one proof",
        )
        batch_op.create_index(op.f("ix_submissions_tx_hash"), ["tx_hash"], unique=False)
    op.create_table(
        "proof_attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prediction_id", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("windows", sa.Integer(), nullable=False, comment="how many were proved together"),
        sa.Column("queue_seconds", sa.Float(precision=53), nullable=True),
        sa.Column("witness_seconds", sa.Float(precision=53), nullable=True),
        sa.Column("prove_seconds", sa.Float(precision=53), nullable=True),
        sa.Column("verify_seconds", sa.Float(precision=53), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False, comment="wall clock"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name=op.f("fk_proof_attempts_prediction_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proof_attempts")),
    )
    op.create_index(op.f("ix_proof_attempts_prediction_id"), "proof_attempts", ["prediction_id"], unique=False)
    op.create_table(
        "disagreements",
        sa.Column("prediction_id", sa.String(length=32), nullable=False),
        sa.Column("feed", sa.String(length=64), nullable=False),
        sa.Column("window_end_ms", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("window", sa.LargeBinary(), nullable=False, comment="gzip of JSON: everything needed to study it"),
        sa.Column("cleared_at_ms", sa.BigInteger(), nullable=True, comment="wall clock: when somebody had looked"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name=op.f("fk_disagreements_prediction_id")),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_disagreements")),
    )


def downgrade() -> None:
    """Proofs of several windows cannot be told in the older schema: their predictions are failed, with the reason."""
    op.execute(
        "DELETE FROM submissions WHERE prediction_id IN (SELECT prediction_id FROM proofs WHERE members IS NOT NULL)"
    )
    op.execute(
        "UPDATE predictions SET status = 'failed', "
        "failure = 'its proof of several windows was given up in a downgrade' "
        "WHERE id IN (SELECT prediction_id FROM proofs WHERE members IS NOT NULL)"
    )
    op.execute("DELETE FROM proofs WHERE members IS NOT NULL")
    op.drop_table("disagreements")
    op.drop_index(op.f("ix_proof_attempts_prediction_id"), table_name="proof_attempts")
    op.drop_table("proof_attempts")
    with op.batch_alter_table("submissions") as batch_op:
        batch_op.drop_index(op.f("ix_submissions_tx_hash"))
        batch_op.alter_column("tx_hash", existing_type=sa.String(length=66), existing_nullable=False, comment=None)
        batch_op.create_unique_constraint(op.f("uq_submissions_tx_hash"), ["tx_hash"])
    with op.batch_alter_table("proof_jobs") as batch_op:
        batch_op.drop_column("queued_at_ms")
    with op.batch_alter_table("proofs") as batch_op:
        batch_op.drop_column("members")
        batch_op.drop_column("slot")
