"""attestations, an attester's own record, transactions with nonce and fees

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEPT = (
    "prediction_id",
    "chain_id",
    "contract",
    "tx_hash",
    "raw_tx",
    "state",
    "block_number",
    "gas_used",
    "sent_at_ms",
)
submissions = sa.table(
    "submissions",
    *(sa.column(name) for name in (*KEPT, "ours")),
)
predictions = sa.table("predictions", sa.column("id"), sa.column("status"))
transactions = sa.table(
    "transactions",
    *(
        sa.column(name)
        for name in (
            "tx_hash",
            "chain_id",
            "contract",
            "sender",
            "nonce",
            "raw_tx",
            "max_fee_wei",
            "max_tip_wei",
            "state",
            "block_number",
            "gas_used",
            "sent_at_ms",
        )
    ),
)


def upgrade() -> None:
    op.create_table(
        "attestations",
        sa.Column("prediction_id", sa.String(length=32), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("contract", sa.String(length=42), nullable=False, comment="the oracle that it is for"),
        sa.Column("attester", sa.String(length=255), nullable=False, comment="URL, or own"),
        sa.Column("outcome", sa.String(length=12), nullable=False),
        sa.Column("signer", sa.String(length=42), nullable=True),
        sa.Column("r", sa.LargeBinary(), nullable=True),
        sa.Column("vs", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False, comment="wall clock"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name=op.f("fk_attestations_prediction_id")),
        sa.PrimaryKeyConstraint("prediction_id", "chain_id", "contract", "attester", name=op.f("pk_attestations")),
    )
    op.create_table(
        "signed_commitments",
        sa.Column("feed", sa.String(length=64), nullable=False),
        sa.Column("window_end_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column(
            "input_commitment", sa.String(length=64), nullable=False, comment="the only one that this attester signs"
        ),
        sa.Column("at_ms", sa.BigInteger(), nullable=False, comment="wall clock"),
        sa.PrimaryKeyConstraint("feed", "window_end_ms", "model_id", name=op.f("pk_signed_commitments")),
    )
    op.create_table(
        "transactions",
        sa.Column("tx_hash", sa.String(length=66), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.String(length=42), nullable=False),
        sa.Column("sender", sa.String(length=42), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False, comment="attempts at the same thing share it"),
        sa.Column("raw_tx", sa.LargeBinary(), nullable=False),
        sa.Column("max_fee_wei", sa.BigInteger(), nullable=False, comment="per gas"),
        sa.Column("max_tip_wei", sa.BigInteger(), nullable=False, comment="per gas"),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.String(length=66), nullable=True),
        sa.Column("gas_used", sa.BigInteger(), nullable=True),
        sa.Column("sent_at_ms", sa.BigInteger(), nullable=False, comment="wall clock"),
        sa.PrimaryKeyConstraint("tx_hash", name=op.f("pk_transactions")),
    )
    op.create_index(op.f("ix_transactions_chain_id_state"), "transactions", ["chain_id", "state"])
    op.create_index(op.f("ix_transactions_chain_id_sender_nonce"), "transactions", ["chain_id", "sender", "nonce"])
    _keep_what_is_settled()
    with op.batch_alter_table("submissions") as batch_op:
        batch_op.add_column(
            sa.Column(
                "ours",
                sa.Boolean(),
                nullable=False,
                server_default=sa.true(),
                comment="false: somebody else published it",
            )
        )
        for column in ("raw_tx", "state", "gas_used", "sent_at_ms"):
            batch_op.drop_column(column)
        batch_op.alter_column(
            "tx_hash",
            existing_type=sa.String(length=66),
            existing_nullable=False,
            existing_comment="shared by the windows of one proof",
            comment="of ours: in transactions",
        )
    with op.batch_alter_table("submissions") as batch_op:
        batch_op.alter_column("ours", existing_type=sa.Boolean(), existing_nullable=False, server_default=None)


def downgrade() -> None:
    op.execute(
        sa.update(predictions)
        .where(predictions.c.id.in_(sa.select(submissions.c.prediction_id).where(submissions.c.ours.is_(sa.false()))))
        .values(status="proved")
    )
    op.execute(sa.delete(submissions).where(submissions.c.ours.is_(sa.false())))
    with op.batch_alter_table("submissions") as batch_op:
        batch_op.add_column(sa.Column("raw_tx", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("state", sa.String(length=10), nullable=True))
        batch_op.add_column(sa.Column("gas_used", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("sent_at_ms", sa.BigInteger(), nullable=True))
    for column in ("raw_tx", "state", "gas_used", "sent_at_ms"):
        found = sa.select(transactions.c[column]).where(transactions.c.tx_hash == submissions.c.tx_hash)
        op.execute(sa.update(submissions).values({column: found.scalar_subquery()}))
    # The former schema knows no block that is not deep enough: such a transaction is looked for again.
    op.execute(sa.update(submissions).where(submissions.c.state == "included").values(state="sent"))
    with op.batch_alter_table("submissions") as batch_op:
        batch_op.drop_column("ours")
        batch_op.alter_column("raw_tx", existing_type=sa.LargeBinary(), nullable=False)
        batch_op.alter_column("state", existing_type=sa.String(length=10), nullable=False)
        batch_op.alter_column("sent_at_ms", existing_type=sa.BigInteger(), nullable=False)
        batch_op.alter_column(
            "tx_hash",
            existing_type=sa.String(length=66),
            existing_nullable=False,
            existing_comment="of ours: in transactions",
            comment="shared by the windows of one proof",
        )
    op.drop_table("transactions")
    op.drop_table("signed_commitments")
    op.drop_table("attestations")
    _take_back_what_was_set_aside()


def _keep_what_is_settled() -> None:
    """Transactions to a bare verifier: what is settled is kept, what was still on its way goes to the oracle instead.

    Their nonces were not kept: -1. What was on its way is set aside for a downgrade: the table is there only then.
    """
    if op.get_bind().execute(sa.select(submissions.c.tx_hash).where(submissions.c.state == "sent").limit(1)).first():
        _set_aside_what_is_on_its_way()
    on_their_way = sa.select(submissions.c.prediction_id).where(submissions.c.state == "sent")
    op.execute(
        sa.update(predictions)
        .where(predictions.c.id.in_(on_their_way), predictions.c.status == "submitted")
        .values(status="proved")
    )
    op.execute(sa.delete(submissions).where(submissions.c.state == "sent"))
    copied = ("tx_hash", "chain_id", "contract", "raw_tx", "state", "block_number", "gas_used", "sent_at_ms")
    unknown = {"sender": "", "nonce": -1, "max_fee_wei": 0, "max_tip_wei": 0}
    sibling = submissions.alias("sibling")
    first_of_hash = (
        sa.select(sa.func.min(sibling.c.prediction_id))
        .where(sibling.c.tx_hash == submissions.c.tx_hash)
        .scalar_subquery()
    )
    once = sa.select(
        *(submissions.c[name] for name in copied), *(sa.literal(value).label(name) for name, value in unknown.items())
    ).where(submissions.c.prediction_id == first_of_hash)
    op.execute(sa.insert(transactions).from_select([*copied, *unknown], once))


def _set_aside_what_is_on_its_way() -> None:
    former = op.create_table(
        "former_submissions",
        sa.Column("prediction_id", sa.String(length=32), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("contract", sa.String(length=42), nullable=False),
        sa.Column("tx_hash", sa.String(length=66), nullable=False),
        sa.Column("raw_tx", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("gas_used", sa.BigInteger(), nullable=True),
        sa.Column("sent_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", "chain_id", name=op.f("pk_former_submissions")),
    )
    sent = sa.select(*(submissions.c[name] for name in KEPT)).where(submissions.c.state == "sent")
    op.execute(sa.insert(former).from_select(KEPT, sent))


def _take_back_what_was_set_aside() -> None:
    """But for predictions that have gone onto the chain meanwhile, or have gone altogether."""
    if not sa.inspect(op.get_bind()).has_table("former_submissions"):
        return
    op.execute(
        "DELETE FROM former_submissions WHERE tx_hash IN (SELECT tx_hash FROM submissions) "
        "OR prediction_id NOT IN (SELECT id FROM predictions WHERE status = 'proved')"
    )
    op.execute("UPDATE predictions SET status = 'submitted' WHERE id IN (SELECT prediction_id FROM former_submissions)")
    names = ", ".join(KEPT)
    op.execute(f"INSERT INTO submissions ({names}) SELECT {names} FROM former_submissions")  # noqa: S608  our own names
    op.drop_table("former_submissions")
