"""Who asks: what limits per client are counted by. Nobody is believed about that but the proxies of the settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from app.errors import Misconfigured

_HOPS = 16
"""Of X-Forwarded-For, from the right: a client can write as many before them as it likes."""
_LONGEST = 4_096
_WITH_PORT = re.compile(r"\[([0-9a-fA-F:.]+)\](?::\d{1,5})?|(\d+\.\d+\.\d+\.\d+):\d{1,5}")
_ONE_CUSTOMER = 64
"""Bits of an IPv6 address that a provider gives to one customer, who then has all that begin with them."""

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


class Clients:
    """Names the client of a request: an IPv4 address, or the network of an IPv6 address."""

    def __init__(self, trusted_proxies: Sequence[str] = ()) -> None:
        self._trusted = tuple(_network(text) for text in trusted_proxies)

    def of(self, scope: Scope) -> str:
        peer = scope.get("client")
        name = str(peer[0]) if peer else "local"
        address = _address(name)
        if address is None:
            return name
        if self._trusted and self._trusts(address):
            address = self._behind(address, scope["headers"])
        return _name(address)

    def _behind(self, proxy: _Address, headers: Iterable[tuple[bytes, bytes]]) -> _Address:
        """The nearest hop that is none of our proxies; the last one that is, where nothing readable comes before it."""
        client = proxy
        for text in _hops(headers):
            address = _address(text)
            if address is None:
                break
            client = address
            if not self._trusts(address):
                break
        return client

    def _trusts(self, address: _Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)


def _network(text: str) -> _Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise Misconfigured(
            f"VERIREGIME_TRUSTED_PROXIES: {text[:64]!r} is no address or network: write 10.1.2.3 or fd00::/8"
        ) from None


def _hops(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """Of X-Forwarded-For, the nearest first."""
    told = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    parts = told[-_LONGEST:].decode("latin-1").rsplit(",", _HOPS)
    return (part.strip() for part in parts[: -_HOPS - 1 : -1])


def _address(text: str) -> _Address | None:
    """None for what is none. Some proxies add the port."""
    found = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address((found[1] or found[2]) if found else text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _name(address: _Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((int(address), _ONE_CUSTOMER), strict=False))
