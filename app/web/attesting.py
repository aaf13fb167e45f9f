"""The attester's own HTTP service: `POST /v1/attest`, and what an operator wants to see of it."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app import __version__
from app.attester.proposal import Proposal, ProposedWindow, Refusal, Refused, Signed
from app.attester.tolerance import units_by_part
from app.errors import BadInput, NotAProposer, ProposalTooLarge
from app.features.variation import INPUTS
from app.types import MINUTE_MS, ModelId, OracleAt, iso, parse_time
from app.web import problems
from app.web.bodies import bounded_body
from app.web.clients import Clients
from app.web.measuring import Measured
from app.web.protocol import Bounds
from app.web.rates import Limit, Places, rate_limit
from app.web.schemas import HealthOut, Problem
from app.wiring import AttesterRole

MOST_BYTES = 256 * 1024
_MOST_WINDOWS = 64
_MOST_PROPOSALS = 256
"""That are judged or wait for it at once."""
_CONNECTIONS = 1_000
_RATE_WITHOUT_TOKEN = "600/minute"  # noqa: S105
"""Of one client, where anybody may ask. Whoever shows the token may ask as often as it likes."""
_RATE_OF_WRONG_TOKENS = "30/minute"
ATTEST = "/v1/attest"
_DESCRIPTION = (
    "Signs that a proof's inputs are what this attester sees on venues of its own, or says why it does not. "
    "Whoever may ask here can make it refuse others: let only your services reach it."
)

Word = Annotated[str, StringConstraints(pattern="^0x[0-9a-fA-F]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class WindowIn(_Strict):
    feed: str = Field(pattern="^[a-z0-9-]{1,64}$")
    window_end: str = Field(max_length=32, description="UTC minute, such as 2025-09-15T12:00:00Z")
    observation: list[Annotated[int, Field(ge=-(2**31), lt=2**31)]] = Field(min_length=INPUTS, max_length=INPUTS)


class ProposalIn(_Strict):
    """The inputs behind a proof, and the claim that is to be signed."""

    chain_id: int = Field(gt=0, lt=2**63)
    contract: str = Field(pattern="^0x[0-9a-fA-F]{40}$", description="the oracle")
    model_id: str = Field(pattern="^[0-9a-f]{64}$")
    windows: list[WindowIn] = Field(min_length=1, max_length=_MOST_WINDOWS, description="in the order of the proof")
    joint: bool = Field(description="whether the proof is one of several windows, even if it holds one only")
    input_commitment: Word = Field(description="keccak256 of the first 64 bytes of the proof")

    def proposal(self) -> Proposal:
        """Raises `BadInput` for a time that is no minute, and for several windows in a single proof."""
        if not self.joint and len(self.windows) != 1:
            raise BadInput("windows: a proof that is not joint has one window")
        return Proposal(
            oracle=OracleAt(self.chain_id, self.contract),
            model_id=ModelId(self.model_id),
            windows=tuple(
                ProposedWindow(window.feed, _minute(window.window_end), tuple(window.observation))
                for window in self.windows
            ),
            joint=self.joint,
            input_commitment=bytes.fromhex(self.input_commitment[2:]),
        )


class SignedOut(BaseModel):
    outcome: Literal["signed"]
    signer: str = Field(description="the attester's address")
    r: str
    vs: str = Field(description="s, with the parity in its top bit (EIP-2098)")

    @classmethod
    def of(cls, signed: Signed) -> SignedOut:
        signature = signed.signature
        return cls(outcome="signed", signer=signature.signer, r="0x" + signature.r.hex(), vs="0x" + signature.vs.hex())


class RefusedOut(BaseModel):
    """RFC 9457 problem details of a refusal."""

    type: Literal["refused"]
    title: str
    status: int
    detail: str
    outcome: Literal["refused"]
    reason: Refusal


class ToleranceOut(BaseModel):
    inputs: dict[str, int] = Field(description="largest difference of each input, in the circuit's integers")
    volatility: float = Field(description="of the forecast from the inputs, as |ln(proposed / own)|")
    p_high: float = Field(description="of the forecast from the inputs, as a difference")


class AttesterOut(BaseModel):
    address: str
    chain_id: int
    contract: str
    submission_limit_seconds: int | None = Field(description="null while the chain cannot be asked")
    feeds: dict[str, str] = Field(description="model id of each feed")
    venues: list[str]
    market_time: str
    tolerance: ToleranceOut


class AttesterReadyOut(BaseModel):
    ready: bool
    feeds: dict[str, bool] = Field(description="whether one of the last three minutes was seen complete")
    problems: list[str] = Field(description="where our keys are not those of the registry, or it cannot be asked")


def create_attester_web(
    role: AttesterRole, ready: Callable[[], None] = lambda: None, trusted_proxies: Sequence[str] = ()
) -> FastAPI:
    """``ready`` is called once, when requests are about to be answered; ``trusted_proxies`` say who asks.

    Raises `Misconfigured` for proxies that are no addresses.
    """
    clients = Clients(trusted_proxies)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ready()
        yield

    app = FastAPI(
        title="VeriRegime attester",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # its viewer would come from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.bounds = Bounds(connections=_CONNECTIONS, bodies={ATTEST: MOST_BYTES})
    problems.install(app)
    app.add_middleware(Measured, metrics=role.metrics)
    _attesting(app, role, clients)
    _operations(app, role)
    return app


def _attesting(app: FastAPI, role: AttesterRole, clients: Clients) -> None:
    refusals: dict[int | str, dict[str, Any]] = {
        400: {"model": Problem, "description": "the proposal is not in form"},
        401: {"model": Problem, "description": "only those who show the proposers' token are listened to"},
        409: {"model": RefusedOut, "description": "refused for good"},
        413: {"model": Problem, "description": "larger than is read"},
        415: {"model": Problem, "description": "proposals are not unpacked: send them without Content-Encoding"},
        429: {"model": Problem, "description": "asked too often without the token: see Retry-After"},
        503: {"model": RefusedOut, "description": "refused now: see Retry-After"},
    }
    places = Places("proposals", _MOST_PROPOSALS, _MOST_PROPOSALS)
    body = {"content": {"application/json": {"schema": ProposalIn.model_json_schema()}}, "required": True}

    @app.post(
        ATTEST,
        response_model=SignedOut,
        responses=refusals,
        dependencies=[Depends(_admission(role.token, clients))],
        openapi_extra={"requestBody": body},
        summary="A signature over a claim, or why not",
    )
    async def attest(request: Request) -> Response:
        with places.taken(clients.of(request.scope)):
            proposal = _parse(await bounded_body(request, MOST_BYTES, ProposalTooLarge))
            return _response(await run_in_threadpool(role.judge.answer, proposal))

    @app.get("/v1/attester", summary="Who attests here, for which oracle, and how strictly")
    def attester() -> AttesterOut:
        return _described(role)


def _operations(app: FastAPI, role: AttesterRole) -> None:
    @app.get("/healthz", summary="The process answers")
    def health() -> HealthOut:
        return HealthOut(status="ok")

    @app.get("/readyz", summary="Keys are the registry's, and the own market is fresh")
    def readiness(response: Response) -> AttesterReadyOut:
        fresh, wrong = role.market.fresh(), [refused.detail for refused in role.pins.refusals()]
        ok = all(fresh.values()) and not wrong
        response.status_code = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
        return AttesterReadyOut(ready=ok, feeds=fresh, problems=wrong)

    @app.get("/metrics", response_class=Response, summary="Prometheus metrics")
    def metrics() -> Response:
        return Response(role.metrics.exposition(), media_type="text/plain; version=0.0.4")


def _admission(token: str | None, clients: Clients) -> Limit:
    """Raises `NotAProposer`, and `TooManyRequests` for whoever goes on asking without the token."""
    anybody = rate_limit(clients, "without a token", _RATE_WITHOUT_TOKEN)
    wrong = rate_limit(clients, "with a wrong token", _RATE_OF_WRONG_TOKENS)

    async def admit(request: Request) -> None:
        if token is None:
            await anybody(request)
            return
        shown = request.headers.get("authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
            await wrong(request)
            raise NotAProposer

    return admit


def _described(role: AttesterRole) -> AttesterOut:
    judge, limit_ms = role.judge, role.pins.submission_limit_ms()
    scale = next(iter(judge.feeds.values())).spec.input_scale
    return AttesterOut(
        address=judge.account.address,
        chain_id=judge.oracle.chain_id,
        contract=judge.oracle.contract,
        submission_limit_seconds=None if isinstance(limit_ms, Refused) else limit_ms // 1000,
        feeds={name: attested.model.model_id for name, attested in judge.feeds.items()},
        venues=list(role.venues),
        market_time=iso(role.clock.now_ms()),
        tolerance=ToleranceOut(
            inputs=units_by_part(judge.tolerance, scale),
            volatility=judge.tolerance.volatility,
            p_high=judge.tolerance.p_high,
        ),
    )


def _response(answer: Signed | Refused) -> JSONResponse:
    if isinstance(answer, Signed):
        return JSONResponse(SignedOut.of(answer).model_dump())
    later = answer.retry_after_s
    status = HTTPStatus.CONFLICT if later is None else HTTPStatus.SERVICE_UNAVAILABLE
    refused = RefusedOut(
        type="refused",
        title=status.phrase,
        status=int(status),
        detail=answer.detail,
        outcome="refused",
        reason=answer.reason,
    )
    headers = {} if later is None else {"Retry-After": str(later)}
    return JSONResponse(refused.model_dump(mode="json"), status, headers, media_type="application/problem+json")


def _parse(raw: bytes) -> Proposal:
    try:
        return ProposalIn.model_validate_json(raw).proposal()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "proposal"
        raise BadInput(f"{where}: {first['msg']}") from None


def _minute(text: str) -> int:
    """One spelling only: what is signed must not hang on how a time was written."""
    try:
        end_ms = parse_time(text)
    except (ValueError, OverflowError):
        end_ms = -1
    if end_ms <= 0 or end_ms % MINUTE_MS or iso(end_ms) != text:
        raise BadInput(f"window_end: {text[:40]!r} is not a UTC minute: write it like 2025-09-15T12:00:00Z")
    return end_ms
