"""Whom limits are counted by: the peer, unless a proxy that is trusted says for whom it asks."""

from __future__ import annotations

import pytest

from app.errors import Misconfigured
from app.web.clients import Clients

PROXIES = ("10.0.0.0/8", "192.168.1.7", "fd00::/8")


def client(peer: str | None, *forwarded: str, trusted: tuple[str, ...] = PROXIES) -> str:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value.encode()) for value in forwarded)]
    return Clients(trusted).of({"client": None if peer is None else (peer, 4711), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("9.9.9.9", "9.9.9.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:9.9.9.9", "9.9.9.9"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        (None, "local"),
    ],
)
def test_client__without_a_proxy__is_the_peer(peer: str | None, name: str) -> None:
    assert client(peer) == name


@pytest.mark.parametrize("trusted", [(), PROXIES])
def test_forwarded_for__of_a_stranger__is_not_believed(trusted: tuple[str, ...]) -> None:
    assert client("9.9.9.9", "1.2.3.4", trusted=trusted) == "9.9.9.9"


@pytest.mark.parametrize(
    ("forwarded", "name"),
    [
        (("1.2.3.4",), "1.2.3.4"),
        (("6.6.6.6, 1.2.3.4",), "1.2.3.4"),
        (("6.6.6.6", "1.2.3.4"), "1.2.3.4"),
        (("6.6.6.6, 1.2.3.4, 10.2.2.2, fd00::5",), "1.2.3.4"),
        (("1.2.3.4:5555",), "1.2.3.4"),
        (("[2001:db8::1]:5555",), "2001:db8::/64"),
        (("10.3.3.3, 10.2.2.2",), "10.3.3.3"),
        (("1.2.3.4, nonsense",), "10.1.1.1"),
        (("1.2.3.4, nonsense, 10.2.2.2",), "10.2.2.2"),
        (("",), "10.1.1.1"),
        ((), "10.1.1.1"),
        ((", ".join(["1.2.3.4"] * 5_000),), "1.2.3.4"),
        ((", ".join(["1.2.3.4"] + ["10.2.2.2"] * 100),), "10.2.2.2"),
    ],
)
def test_forwarded_for__of_a_proxy__gives_the_nearest_hop_that_is_none(forwarded: tuple[str, ...], name: str) -> None:
    assert client("10.1.1.1", *forwarded) == name


def test_proxies__that_are_no_addresses__are_refused_by_the_settings_name() -> None:
    with pytest.raises(Misconfigured, match=r"VERIREGIME_TRUSTED_PROXIES: 'proxy\.example' is no address"):
        Clients(("proxy.example",))
