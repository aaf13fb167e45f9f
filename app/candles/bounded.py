"""HTTP for venue.py: an answer is whole within its time limit and of bearable size, or it is an error.

The time limit of `requests` is one for each read, so that a server with a byte now and then holds its client for ever.
Here it is the whole request's: connecting to however many addresses, and every read. Only the system's resolver of
names keeps its own limits.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ProtocolError

_CHUNK_BYTES = 65_536

_deadline: ContextVar[float] = ContextVar("deadline")
"""Of the request under way, on the monotonic clock."""


class Unbearable(requests.RequestException):
    """The answer is not one that a venue would give."""


class BoundedSession(requests.Session):
    """Follows no redirects, and takes nothing from the environment. One request at a time."""

    def __init__(self, most_bytes: int = 8 * 2**20) -> None:
        super().__init__()
        self.trust_env = False
        self.said: Mapping[str, str] = {}
        """The headers of the last answer; empty while there is none to the last request."""
        self.status = 0
        """Of the last answer; 0 while there is none."""
        self.said_at = 0.0
        """When they came, on the monotonic clock."""
        self._most_bytes = most_bytes
        self.mount("http://", _Adapter())
        self.mount("https://", _Adapter())

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """``timeout`` (seconds) is for everything. Raises `requests.RequestException`."""
        self.said, self.status = {}, 0
        began = _deadline.set(time.monotonic() + options["timeout"])
        try:
            response = self._ask(request, options | {"stream": True, "allow_redirects": False})
            self.said, self.status, self.said_at = response.headers, response.status_code, time.monotonic()
            self._read(response)
        finally:
            _deadline.reset(began)
        return response

    def _ask(self, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
        try:
            return super().send(request, **options)
        except requests.ConnectionError as error:
            if not _hung_up(error):
                raise
            # A connection that was kept from the last request, and that the server closed at this very moment.
            return super().send(request, **options)

    def _read(self, response: requests.Response) -> None:
        body = bytearray()
        try:
            if response.is_redirect:
                raise Unbearable(f"it sends us to {response.headers['Location'][:100]}")
            for chunk in response.iter_content(_CHUNK_BYTES):
                body += chunk
                if len(body) > self._most_bytes:
                    raise Unbearable(f"it is larger than {self._most_bytes // 2**20} MiB")
        except BaseException:
            response.close()
            raise
        response._content = bytes(body)


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class _Timed(io.RawIOBase):
    """A socket's file that is read no longer than the request may take."""

    def __init__(self, file: io.RawIOBase, connected: socket.socket) -> None:
        self._file = file
        self._connected = connected

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connected.settimeout(_left_s())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        # Tried one after another: each has its share of the time.
        addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        self.timeout = _left_s() / len(addresses)
        connected = super()._new_conn()
        connected.settimeout(_left_s())
        return connected


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _hung_up(error: requests.ConnectionError) -> bool:
    """Whether the server closed the connection in place of an answer."""
    cause = error.args[0] if error.args else None
    inner = cause.args[1] if isinstance(cause, ProtocolError) and len(cause.args) > 1 else None
    return isinstance(inner, ConnectionError)


def _left_s() -> float:
    left_s = _deadline.get() - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s
