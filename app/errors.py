"""Every error the product raises on purpose. The docstring is the default message; `status` is what HTTP answers.

OracleError
├── BadInput                      400  the caller can mend it
│   ├── UnknownFeed               404
│   ├── UnknownPrediction         404
│   ├── UnknownModel              404
│   ├── NoChain                   404
│   ├── CandleFileInvalid
│   ├── UnknownSrs                404
│   ├── SrsInvalid                the file that was brought is not a sound SRS
│   ├── EncodingRefused           415  requests are read as they are, never unpacked
│   ├── SignatureInvalid          422  it is nobody's signature over this claim
│   ├── ProposalTooLarge          413
│   ├── NotAProposer              401  the proposers' token is missing or wrong
│   ├── BundleMalformed           422
│   │   └── BundleOutOfForm       it is a bundle, but one field cannot be right
│   ├── BundleTooLarge            413
│   └── BackupRefused             it cannot be written, or not be restored, as it was asked
├── AlreadySigned                 409  an attester signs one input commitment per window
├── NotNow                        503  ask again later
│   ├── VenueUnavailable
│   ├── NoQuorum                  too few venues have the window's last minute
│   ├── WindowIncomplete
│   ├── ForecastStale
│   ├── NoForecastYet
│   ├── ProofNotReady             409
│   ├── AttestationsMissing       too few attesters have signed
│   ├── Busy                      as many are served as can be
│   ├── TooManyRequests           429  this client asks more often than one may
│   └── CandlesGone               410  (never comes back)
├── ProvingFailed                 500
│   ├── ProofRejected             the proof we made does not verify
│   ├── ProofTimedOut             killed at its time limit
│   ├── ProverOutOfMemory         killed at its memory limit
│   ├── ProverDied                the worker process went away
│   ├── ProverUnavailable         nobody could be asked for a proof
│   └── OutputsDisagree           network and circuit say different things
├── ChainError                    502
│   ├── ChainUnavailable
│   ├── SimulationReverted        the chain would refuse the transaction
│   ├── NonceUsed                 something else took the transaction's place
│   ├── FeesTooHigh               the chain asks for more than the caps allow
│   ├── BalanceTooLow             the account cannot pay
│   └── TransactionFailed
└── Misconfigured                 500  the operator can mend it
    ├── ModelFolderInvalid
    ├── SrsUnavailable
    ├── ToolMissing
    ├── ChildDidNotStart
    ├── PortInUse
    ├── PagesMissing              the dashboard was not built
    └── StoreUnavailable          503
        ├── StoreInUse            another process works on the SQLite file already
        └── SchemaUnknown         a newer version wrote the database
"""

from __future__ import annotations

import inspect
from http import HTTPStatus


class OracleError(Exception):
    """Something went wrong."""

    status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR
    retry_after_s: int | None = None

    def __init__(self, detail: str | None = None, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail or inspect.cleandoc(type(self).__doc__ or "").splitlines()[0])
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s

    @classmethod
    def slug(cls) -> str:
        """The class name in kebab case: the problem type over HTTP, the reason code in logs."""
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("-")


class BadInput(OracleError):
    """The request cannot be served as it stands."""

    status = HTTPStatus.BAD_REQUEST


class UnknownFeed(BadInput):
    """There is no such feed."""

    status = HTTPStatus.NOT_FOUND


class UnknownPrediction(BadInput):
    """There is no such prediction."""

    status = HTTPStatus.NOT_FOUND


class UnknownModel(BadInput):
    """There is no such model here."""

    status = HTTPStatus.NOT_FOUND


class NoChain(BadInput):
    """This service publishes to no chain."""

    status = HTTPStatus.NOT_FOUND


class UnknownSrs(BadInput):
    """There is no such SRS here."""

    status = HTTPStatus.NOT_FOUND


class SrsInvalid(BadInput):
    """The file is not a sound structured reference string."""


class EncodingRefused(BadInput):
    """Requests are read as they are: send the body without Content-Encoding."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class CandleFileInvalid(BadInput):
    """The candle file cannot be used."""


class BundleMalformed(BadInput):
    """This is not a bundle."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class BundleOutOfForm(BundleMalformed):
    """A field of the bundle is not in its form."""


class BundleTooLarge(BadInput):
    """The bundle is larger than this service reads."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class BackupRefused(BadInput):
    """The backup cannot be written or restored like this."""


class SignatureInvalid(BadInput):
    """This is not a signature over the claim."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class NotAProposer(BadInput):
    """Only services that show this attester's token may propose: see VERIREGIME_PROPOSER_TOKEN_FILE."""

    status = HTTPStatus.UNAUTHORIZED


class ProposalTooLarge(BadInput):
    """The proposal is larger than an attester reads."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class AlreadySigned(OracleError):
    """Another input commitment was signed for this window."""

    status = HTTPStatus.CONFLICT


class NotNow(OracleError):
    """Not available at this moment; ask again later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_s: int | None = 60


class VenueUnavailable(NotNow):
    """The venue does not answer."""


class NoQuorum(NotNow):
    """Too few venues have the last minute."""


class WindowIncomplete(NotNow):
    """Too many minutes of the window are missing."""


class ForecastStale(NotNow):
    """The newest forecast is older than the caller accepts."""


class NoForecastYet(NotNow):
    """No forecast has been made yet."""


class ProofNotReady(NotNow):
    """The proof is still being made."""

    status = HTTPStatus.CONFLICT
    retry_after_s = 2


class AttestationsMissing(NotNow):
    """Too few attesters have signed."""

    retry_after_s = 5


class Busy(NotNow):
    """As many are served as can be at once."""

    retry_after_s = 5


class TooManyRequests(NotNow):
    """This client asks more often than one may."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class CandlesGone(NotNow):
    """The candles behind this prediction are no longer stored."""

    status = HTTPStatus.GONE
    retry_after_s = None


class ProvingFailed(OracleError):
    """The proof could not be made."""


class ProofRejected(ProvingFailed):
    """The proof that was made does not verify."""


class ProofTimedOut(ProvingFailed):
    """The proof took longer than its time limit and was killed."""


class ProverOutOfMemory(ProvingFailed):
    """The prover process needed more memory than it may have and was killed."""


class ProverDied(ProvingFailed):
    """The prover process died."""


class ProverUnavailable(ProvingFailed):
    """The proving cluster cannot be reached."""


class OutputsDisagree(ProvingFailed):
    """Network and circuit disagree beyond the quantisation tolerance."""


class ChainError(OracleError):
    """The chain did not do what was asked."""

    status = HTTPStatus.BAD_GATEWAY


class ChainUnavailable(ChainError):
    """The chain's RPC endpoint does not answer."""


class SimulationReverted(ChainError):
    """The chain would refuse this transaction."""


class NonceUsed(ChainError):
    """The chain will never take this transaction."""


class FeesTooHigh(ChainError):
    """The chain asks for higher fees than are paid."""


class BalanceTooLow(ChainError):
    """The account cannot pay for a transaction."""


class TransactionFailed(ChainError):
    """The transaction was mined but failed."""


class Misconfigured(OracleError):
    """The installation is not complete."""


class ModelFolderInvalid(Misconfigured):
    """The model folder is not what its manifest says."""


class SrsUnavailable(Misconfigured):
    """The structured reference string is not here."""


class ToolMissing(Misconfigured):
    """A program that this step needs is not installed."""


class ChildDidNotStart(Misconfigured):
    """A program that this step runs did not start."""


class PortInUse(Misconfigured):
    """The port is taken by another process."""


class PagesMissing(Misconfigured):
    """The pages were not built: run `make setup` in a checkout, or install a released package. The API is there."""


class StoreUnavailable(Misconfigured):
    """The database cannot be used."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_s = 5


class StoreInUse(StoreUnavailable):
    """Another process works on this SQLite file already."""


class SchemaUnknown(StoreUnavailable):
    """The database was written by a newer version."""
