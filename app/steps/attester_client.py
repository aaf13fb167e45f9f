"""One attester over HTTP, and what its answer is worth: a signature counts after it was checked here."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from app.chain.attestation import signer_of
from app.errors import NotNow, SignatureInvalid
from app.types import AttestationOutcome, AttesterSignature, Claim, OracleAt, iso

OWN = "own"
_MOST_BYTES = 64 * 1024
_WORDS = 400


@dataclass(frozen=True, slots=True)
class Question:
    """What an attester is asked: the claim, and the inputs behind each of its windows."""

    oracle: OracleAt
    claim: Claim
    observations: tuple[tuple[int, ...], ...]

    def body(self) -> dict[str, Any]:
        """The proposal as `POST /v1/attest` takes it."""
        windows = zip(self.claim.windows, self.observations, strict=True)
        return {
            "chain_id": self.oracle.chain_id,
            "contract": self.oracle.contract,
            "model_id": self.claim.model_id,
            "windows": [
                {"feed": feed, "window_end": iso(end_ms), "observation": list(observation)}
                for (feed, end_ms), observation in windows
            ],
            "joint": self.claim.joint,
            "input_commitment": "0x" + self.claim.input_commitment.hex(),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    outcome: AttestationOutcome
    signature: AttesterSignature | None
    reason: str | None


class AttesterClient:
    """An attester's URL, which may hold a password: it goes by its host everywhere else."""

    def __init__(self, url: str, timeout_s: float, token: str | None = None) -> None:
        parts = urlsplit(url)
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
        self.host = parts.netloc.rpartition("@")[2]
        self._url = url.rstrip("/") + "/v1/attest"
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def introduce(self) -> tuple[str, str]:
        """Whom it signs as, and for which oracle. Raises `NotNow` when it does not say."""
        address = self._url.removesuffix("/v1/attest") + "/v1/attester"
        give_up = time.monotonic() + self._timeout_s
        try:
            with requests.get(address, headers=self._headers, timeout=self._timeout_s, stream=True) as response:
                said = json.loads(_bounded(response, give_up))
                return str(said["address"]), str(said["contract"])
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise NotNow(f"the attester {self.name} does not say who it is: {type(error).__name__}") from None

    def ask(self, question: Question) -> Answer:
        """Its answer within the time limit, or why there is none. "Not now" is asked again while there is time."""
        give_up = time.monotonic() + self._timeout_s
        while True:
            answer, again_s = self._ask_once(question, give_up)
            if again_s is None or time.monotonic() + again_s >= give_up:
                return answer
            time.sleep(again_s)

    def _ask_once(self, question: Question, give_up: float) -> tuple[Answer, float | None]:
        left_s = max(0.1, give_up - time.monotonic())
        try:
            # Redirects are not followed: an attester answers itself.
            with requests.post(
                self._url,
                json=question.body(),
                headers=self._headers,
                timeout=left_s,
                stream=True,
                allow_redirects=False,
            ) as response:
                said = _bounded(response, give_up)
                return _judged(response, said, question), _again_s(response)
        except (requests.RequestException, ValueError) as error:
            return _unreachable(f"no answer: {type(error).__name__}"), None


def _bounded(response: requests.Response, give_up: float) -> bytes:
    """The body, given up when it grows too long or takes too long. Raises `ValueError`."""
    body = bytearray()
    for byte in response.iter_content(1):  # a larger piece is waited for, and may come a byte at a time
        body += byte
        if len(body) > _MOST_BYTES:
            raise ValueError("too long an answer")
        if time.monotonic() > give_up:
            raise requests.Timeout
    return bytes(body)


def _again_s(response: requests.Response) -> float | None:
    said = response.headers.get("Retry-After", "")
    return float(said) if response.status_code == 503 and re.fullmatch("[0-9]{1,4}", said) else None


def _judged(response: requests.Response, said: bytes, question: Question) -> Answer:
    try:
        body = json.loads(said)
    except ValueError:
        body = None
    if response.status_code >= 500 or not isinstance(body, dict):
        return _unreachable(f"answered {response.status_code}: {_problem(body)}")
    if response.status_code == 200:
        return _checked(body, question)
    return Answer(AttestationOutcome.REFUSED, None, _problem(body))


def _checked(body: dict[str, Any], question: Question) -> Answer:
    try:
        signature = AttesterSignature(str(body["signer"]), _word(body["r"]), _word(body["vs"]))
        found = signer_of(question.oracle, question.claim, signature)
    except (KeyError, TypeError, ValueError, SignatureInvalid) as error:
        return Answer(AttestationOutcome.INVALID, None, f"its signature is not in form: {str(error)[:_WORDS]}")
    if found != signature.signer:
        words = f"it names {signature.signer[:_WORDS]} but its signature over this claim is not from there"
        return Answer(AttestationOutcome.INVALID, None, words)
    return Answer(AttestationOutcome.SIGNED, signature, None)


def _word(text: Any) -> bytes:
    if not re.fullmatch("0x[0-9a-fA-F]{64}", str(text)):
        raise ValueError("r and vs are 0x and 64 hexadecimal digits")
    return bytes.fromhex(str(text)[2:])


def _problem(body: Any) -> str:
    """Reason and sentence of a problem+json, as far as it is one."""
    if not isinstance(body, dict):
        return "nothing legible"
    words = ": ".join(str(body[name]) for name in ("reason", "detail") if body.get(name))
    return "".join(c if c.isprintable() else " " for c in words)[:_WORDS] or "no reason given"


def _unreachable(words: str) -> Answer:
    return Answer(AttestationOutcome.UNREACHABLE, None, words)
