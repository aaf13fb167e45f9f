"""JSON-RPC endpoints of one chain: the next one is asked when one is away. The network's edge of `app.chain`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from json import JSONDecodeError
from typing import Literal, TypeVar
from urllib.parse import urlsplit

import requests
from eth_typing import URI
from web3 import HTTPProvider, Web3
from web3.eth import Eth
from web3.exceptions import (
    BadResponseFormat,
    BlockNotFound,
    ContractLogicError,
    RequestTimedOut,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.middleware import ExtraDataToPOAMiddleware

from app.errors import ChainError, ChainUnavailable, Misconfigured

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_LIMIT_EXCEEDED = -32005, 429

_NO_ANSWER = (
    requests.RequestException,
    ConnectionError,
    TimeoutError,
    RequestTimedOut,
    BadResponseFormat,
    JSONDecodeError,  # somebody's error page
    UnicodeDecodeError,
)


class Rpc:
    """The endpoints, asked in turn from the one that answered last.

    An endpoint counts only after it has said the chain id that is expected, and again after each failure: what is
    behind an address may change. URLs may hold access keys, so errors and logs name hosts only.
    """

    def __init__(self, urls: Sequence[str], *, chain_id: int | None = None, timeout_s: float = 15) -> None:
        self._endpoints = [_Endpoint(url, timeout_s) for url in urls]
        self._expected = chain_id
        self._heard = False
        self._current = 0
        self._turn = threading.Lock()

    @property
    def chain_id(self) -> int:
        """The chain's id, as an endpoint has said it once. Raises `ChainUnavailable` while none could be asked."""
        if not self._heard:
            self.ask(lambda eth: None)
        assert self._expected is not None  # noqa: S101  `ask` found it or raised
        return self._expected

    def ask(self, question: Callable[[Eth], _T]) -> _T:
        """The answer of the first endpoint that gives one.

        A revert (`ContractLogicError`), `TransactionNotFound` and `BlockNotFound` are answers and pass through. Raises
        `ChainUnavailable` when no endpoint answers, `ChainError` when one refuses the question, `Misconfigured` when
        one is of another chain.
        """
        away: ChainUnavailable | None = None
        for step in range(len(self._endpoints)):
            number = (self._current + step) % len(self._endpoints)
            endpoint = self._endpoints[number]
            try:
                self._require_chain(endpoint)
                answer = endpoint.ask(question)
            except ChainUnavailable as error:
                if len(self._endpoints) > 1:
                    log.log(logging.DEBUG if endpoint.away else logging.WARNING, "%s", error)
                endpoint.trusted, endpoint.away = False, True
                away = error
                continue
            endpoint.away = False
            self._current = number
            return answer
        raise away or ChainUnavailable("no RPC endpoint is set: see VERIREGIME_RPC_URLS")

    def or_latest(self, question: Callable[[Eth, Literal["pending", "latest"]], _T]) -> _T:
        """The answer about the block that comes next, or about the last one where endpoints know no pending block."""
        try:
            return self.ask(lambda eth: question(eth, "pending"))
        except ChainUnavailable:
            raise
        except (ChainError, BlockNotFound):
            return self.ask(lambda eth: question(eth, "latest"))

    def _require_chain(self, endpoint: _Endpoint) -> None:
        if endpoint.trusted:
            return
        said = endpoint.ask(lambda eth: int(eth.chain_id))
        with self._turn:
            if self._expected is None:
                self._expected = said
        if said != self._expected:
            raise Misconfigured(f"the RPC endpoint at {endpoint.host} is of chain {said}, expected is {self._expected}")
        endpoint.trusted = self._heard = True


class _Endpoint:
    def __init__(self, url: str, timeout_s: float) -> None:
        self.host = urlsplit(url).netloc.rpartition("@")[2]
        self.trusted = False
        self.away = False
        # Without web3's own retries: here the next endpoint is asked instead.
        provider = HTTPProvider(
            URI(url),
            request_kwargs={"timeout": timeout_s},
            exception_retry_configuration=None,
            session=requests.Session(),
        )
        web3 = Web3(provider)
        # Chains whose validators sign in `extraData` (Polygon, BNB, Linea) write more there than web3 takes otherwise.
        web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        self._eth = web3.eth

    def ask(self, question: Callable[[Eth], _T]) -> _T:
        try:
            return question(self._eth)
        except (ContractLogicError, TransactionNotFound, BlockNotFound):
            raise
        except Web3RPCError as error:
            if _code(error) in _LIMIT_EXCEEDED:
                raise ChainUnavailable(f"the RPC endpoint at {self.host} asks us to slow down") from None
            raise ChainError(f"the RPC endpoint at {self.host} answered {_words(error)}") from None
        except _NO_ANSWER as error:
            raise ChainUnavailable(f"the RPC endpoint at {self.host} does not answer: {type(error).__name__}") from None
        except (Web3Exception, ValueError) as error:
            raise ChainError(f"the RPC endpoint at {self.host} answered {_words(error)}") from None


def _code(error: Web3RPCError) -> int | None:
    said = (error.rpc_response or {}).get("error")
    return said.get("code") if isinstance(said, dict) else None


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
