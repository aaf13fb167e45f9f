"""A bundle: one JSON object with everything that is needed to check a prediction without asking anybody.

Every field is covered by a check of `app.audit.checks`; what cannot be checked is not in here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import from_json

from app.audit.bounds import JsonBounds, check_bounds
from app.errors import BundleMalformed, BundleOutOfForm, BundleTooLarge, CandlesGone
from app.features.variation import CANDLES_NEEDED, candles_digest
from app.inference.release import canonical_json
from app.types import (
    MINUTE_MS,
    SCALAR_FIELD,
    AttesterSignature,
    CandlesByVenue,
    Claim,
    OracleAt,
    Prediction,
    Proof,
    iso,
)

FORMAT = "veriregime-bundle/4"
MOST_PROOF_BYTES = 65_536

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$")]
Hex = Annotated[str, StringConstraints(pattern=r"^0x([0-9a-f]{2})*$", max_length=2 * MOST_PROOF_BYTES)]
Number = Annotated[float, Field(allow_inf_nan=False)]
OpenTime = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
Row = Annotated[tuple[OpenTime, Number, Number, Number, Number, Number], Field(strict=False, fail_fast=True)]
"""A list will do for a tuple, which JSON does not have; its values are held to be what they say as everywhere."""
FieldInteger = Annotated[int, Field(ge=-(SCALAR_FIELD // 2), le=SCALAR_FIELD // 2)]
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{1,16}/[A-Z0-9]{1,16}$")]
"""As ccxt writes a spot market: ``BTC/USD``."""
MOST_VENUES = 16
MOST_INPUTS = 4096
Inputs = Annotated[list[Annotated[int, Field(ge=-(2**31), le=2**31)]], Field(fail_fast=True, max_length=MOST_INPUTS)]
MOST_WINDOWS = 64
MOST_SIGNATURES = 64

BOUNDS = JsonBounds(
    depth=6,
    lists=MOST_VENUES * (CANDLES_NEEDED + 1) + 1024,
    members=1024,
    commas=6 * MOST_VENUES * CANDLES_NEEDED + (MOST_WINDOWS + 1) * MOST_INPUTS + 4096,
    strings=4096,
    string_bytes=4 * MOST_PROOF_BYTES,
    literal_bytes=128,
)
"""Of the JSON text, somewhat above what the fields below can hold together. Lists stop at their first wrong value for
the same reason: an error for each of a million would take longer than reading them."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Word = Annotated[Hex, StringConstraints(min_length=66, max_length=66)]


class BundleProof(_Strict):
    """The halo2 proof, its public outputs as 32-byte words, and the hashes of what it was made under."""

    proof: Hex
    instances: Annotated[list[Word], Field(fail_fast=True, max_length=3 * MOST_WINDOWS)]
    commitment: Annotated[Hex, StringConstraints(min_length=130, max_length=130)]
    vk_hash: Sha256
    srs_hash: Sha256
    srs_development: bool
    circuit_hash: Sha256
    ezkl_version: Annotated[str, StringConstraints(max_length=32)]


class BundleJoint(_Strict):
    """For a proof of several windows: the place of this one, and all the inputs that the commitment is over.

    A place that was left empty is null; its inputs are zeros.
    """

    slot: Annotated[int, Field(ge=0, lt=MOST_WINDOWS)]
    observations: Annotated[list[Inputs | None], Field(fail_fast=True, min_length=1, max_length=MOST_WINDOWS)]


Address = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-fA-F]{40}$")]


class BundleSignature(_Strict):
    """An attester's signature in the compact form of EIP-2098, with its account."""

    signer: Address
    r: Word
    vs: Word


SignedWindow = Annotated[tuple[Name, Time], Field(strict=False)]


class BundleAttested(_Strict):
    """The signatures that were collected, and what they are over, EIP-712.

    ``windows`` are (feed, window end) of all the windows of the proof, in its order.
    """

    chain_id: Annotated[int, Field(gt=0, lt=2**63)]
    oracle: Address
    windows: Annotated[list[SignedWindow], Field(fail_fast=True, min_length=1, max_length=MOST_WINDOWS)]
    signatures: Annotated[list[BundleSignature], Field(fail_fast=True, min_length=1, max_length=MOST_SIGNATURES)]

    @classmethod
    def of(cls, oracle: OracleAt, claim: Claim, signatures: Sequence[AttesterSignature]) -> BundleAttested:
        return cls(
            chain_id=oracle.chain_id,
            oracle=oracle.contract,
            windows=[(feed, iso(end_ms)) for feed, end_ms in claim.windows],
            signatures=[
                BundleSignature(signer=one.signer, r="0x" + one.r.hex(), vs="0x" + one.vs.hex()) for one in signatures
            ],
        )


class Bundle(_Strict):
    """One prediction with its evidence. ``outputs`` are integers at the model's output scale.

    ``candles`` are the rows of each venue, ``markets`` what was read there, and ``quorum`` how many of them had to have
    a minute.
    """

    format: Literal["veriregime-bundle/4"]
    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    feed: Name
    window_end: Time
    model_id: Sha256
    regime: Literal["low", "high"]
    p_high: Number
    vol_annualised: Number
    markets: dict[Name, Symbol] = Field(min_length=1, max_length=MOST_VENUES)
    quorum: Annotated[int, Field(ge=1, le=MOST_VENUES)]
    candles: dict[Name, Annotated[list[Row], Field(fail_fast=True, max_length=CANDLES_NEEDED)]] = Field(
        min_length=1, max_length=MOST_VENUES
    )
    candles_sha256: Sha256
    observation: Inputs
    network_outputs: Annotated[list[Number], Field(fail_fast=True, max_length=64)]
    outputs: Annotated[list[FieldInteger], Field(fail_fast=True, max_length=64)]
    proof: BundleProof
    joint: BundleJoint | None
    attested: BundleAttested | None
    predicted_at: Time
    proved_at: Time
    sha256: Sha256

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of everything but ``sha256``: finds damage, authenticates nobody."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json", exclude={"sha256"}))).hexdigest()


def make_bundle(
    prediction: Prediction,
    proof: Proof,
    proved_at_ms: int,
    candles: CandlesByVenue,
    *,
    circuit_hash: str,
    ezkl_version: str,
    srs_development: bool,
    observations: Sequence[Sequence[int] | None] = (),
    attested: BundleAttested | None = None,
) -> Bundle:
    """The bundle of a proved prediction; ``observations`` are those of all the windows of a joint proof.

    ``attested`` holds the signatures that are there by now, none where nobody signs.

    Raises `CandlesGone` when the stored candles are no longer the ones the prediction was made from.
    """
    if candles_digest(candles) != prediction.candles_sha256:
        raise CandlesGone()
    unsigned = Bundle(
        format="veriregime-bundle/4",
        id=prediction.id,
        feed=prediction.feed,
        window_end=iso(prediction.window_end_ms),
        model_id=prediction.model_id,
        regime=prediction.regime.value,
        p_high=prediction.p_high,
        vol_annualised=prediction.vol_annualised,
        markets=dict(prediction.sources.markets),
        quorum=prediction.quorum,
        candles={venue: [(int(row[0]), *row[1:]) for row in part.rows()] for venue, part in candles.items()},  # type: ignore[misc]
        candles_sha256=prediction.candles_sha256,
        observation=list(prediction.observation),
        network_outputs=list(prediction.network_outputs),
        outputs=list(proof.outputs),
        proof=BundleProof(
            proof="0x" + proof.proof.hex(),
            instances=[instance_word(value) for value in proof.instances],
            commitment="0x" + proof.commitment.hex(),
            vk_hash=proof.vk_hash,
            srs_hash=proof.srs_hash,
            srs_development=srs_development,
            circuit_hash=circuit_hash,
            ezkl_version=ezkl_version,
        ),
        joint=BundleJoint(slot=proof.slot, observations=[list(values) if values else None for values in observations])
        if proof.members
        else None,
        attested=attested,
        predicted_at=iso(prediction.predicted_at_ms),
        proved_at=iso(proved_at_ms),
        sha256="0" * 64,
    )
    return unsigned.model_copy(update={"sha256": unsigned.digest()})


def parse_bundle(raw: bytes, max_bytes: int) -> Bundle:
    """A bundle from JSON bytes.

    Raises `BundleTooLarge` before anything is read, `BundleMalformed` for something else than a bundle, and
    `BundleOutOfForm` naming the first field that cannot be right. The reason is one short line whatever the bytes are.
    """
    if len(raw) > max_bytes:
        raise BundleTooLarge(f"the bundle has {len(raw):,} bytes; at most {max_bytes:,} are read")
    check_bounds(raw, BOUNDS)
    try:
        # Not in one step: complaints would each hold a copy of the part of the JSON that they are about.
        return Bundle.model_validate(from_json(raw))
    except ValidationError as error:
        complaints = error.errors(include_url=False, include_input=False)
        first = complaints[0]
        place, reason = ".".join(_shown(str(part), 64) for part in first["loc"]), _shown(first["msg"], 200)
        if not place or any(complaint["loc"] == ("format",) for complaint in complaints):
            raise BundleMalformed(f"this is no {FORMAT} file: {reason}") from None
        raise BundleOutOfForm(f"{place}: {reason}") from None
    except ValueError as error:
        raise BundleMalformed(f"this is no {FORMAT} file: {_shown(str(error), 200)}") from None


def _shown(text: str, length: int) -> str:
    """A stranger's words in a line of ours."""
    short = text if len(text) <= length else text[:length] + "…"
    return short if short.isprintable() else ascii(short)


def window_start_ms(window_end_ms: int) -> int:
    return window_end_ms - CANDLES_NEEDED * MINUTE_MS


def instance_word(value: int) -> str:
    """A public output as the contract takes it: 32 bytes, big-endian, negative values as field complement."""
    return f"0x{value % SCALAR_FIELD:064x}"
