"""What others could get at, and what would be seen of it: secrets, limits, proxies, logs, metrics, traces."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import requests

from app.check.finding import Finding, Level
from app.errors import PortInUse
from app.settings import Settings
from app.web.clients import Clients
from app.web.rates import read_rate
from app.web.server import listen

_REACH_S = 3.0
_TRACING = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
_SECRETS = ("database_url", "submitter_key", "attester_key", "proposer_token")
_SECRET_FILES = (*(f"{name}_file" for name in _SECRETS), "submitter_password_file", "attester_password_file")
_SPARE_FILES = 256
"""As `app.web.server` keeps beside the connections."""
_WIDE = 2**16
"""Addresses on the open internet: more than a network of proxies has."""


def identity(settings: Settings) -> Iterator[Finding]:
    if not hasattr(os, "geteuid"):
        return
    if os.geteuid() == 0:
        remedy = "give it a user of its own, as ops/systemd and the Dockerfile do"
        yield Finding("user", Level.WARNING, "this is root: whoever takes the service over has the machine", remedy)
    else:
        yield Finding("user", Level.OK, f"uid {os.geteuid()}, not root")


def secrets(settings: Settings) -> Iterator[Finding]:
    """Where they lie and who may read them; what they are is not looked at."""
    wrong = False
    for name in _SECRET_FILES:
        path: Path | None = getattr(settings, name)
        for finding in _of_file(f"VERIREGIME_{name.upper()}", path) if path is not None else ():
            wrong = True
            yield finding
    dotenv = Path(".env")
    if dotenv.is_file() and _readable_by_others(dotenv):
        wrong = True
        yield Finding("secrets", Level.WARNING, f"{dotenv.resolve()} can be read by others", f"chmod 600 {dotenv}")
    plain = [f"VERIREGIME_{name.upper()}" for name in _SECRETS if _is_plain(settings, name)]
    if plain:
        remedy = "put each into a file of mode 600 and name that with …_FILE"
        yield Finding("secrets", Level.NOTE, f"{', '.join(plain)}: the environment shows what it holds", remedy)
    elif not wrong:
        yield Finding("secrets", Level.OK, "none can be read by others")


def limits(settings: Settings) -> Iterator[Finding]:
    """Raises `Misconfigured` for a rate or a proxy that cannot be read."""
    rates = {name: getattr(settings, name) for name in ("verify_rate", "bundle_rate")}
    unlimited = [name for name, rate in rates.items() if read_rate(f"VERIREGIME_{name.upper()}", rate) is None]
    Clients(settings.trusted_proxies)
    words = ", ".join(f"{name.partition('_')[0]} {rate or 'without limit'}" for name, rate in rates.items())
    if _is_loopback(settings.host):
        yield Finding("limits", Level.OK, f"{words} for each client; {settings.host} is this machine alone")
    elif unlimited:
        named = " and ".join(f"VERIREGIME_{name.upper()}" for name in unlimited)
        detail = f"{settings.host} can be reached from outside, and one client may ask as often as it likes: {words}"
        yield Finding("limits", Level.WARNING, detail, f"set {named}, or VERIREGIME_HOST=127.0.0.1")
    else:
        yield Finding("limits", Level.OK, f"{words} for each client")
    yield _proxies(settings)


def files(settings: Settings) -> Iterator[Finding]:
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + _SPARE_FILES
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        yield Finding("open files", Level.OK, f"enough for VERIREGIME_MAX_CONNECTIONS={settings.max_connections}")
    else:
        detail = f"{hard:,} may be open, {settings.max_connections:,} connections need {wanted:,}"
        remedy = f"LimitNOFILE={wanted} (systemd), `ulimit -n`, or lower VERIREGIME_MAX_CONNECTIONS"
        yield Finding("open files", Level.WARNING, detail, remedy)


def metrics(settings: Settings) -> Iterator[Finding]:
    if settings.metrics_port is None:
        detail = "no port: `serve` and `api` tell them at /metrics, other roles nowhere"
        yield Finding("metrics", Level.NOTE, detail, "set VERIREGIME_METRICS_PORT for pipeline, prover and submitter")
        return
    place = f"{settings.host}:{settings.metrics_port}"
    if settings.metrics_port == settings.port:
        yield Finding("metrics", Level.FAILED, f"{place} is the API's port too", "set another VERIREGIME_METRICS_PORT")
        return
    try:
        listen(settings.host, settings.metrics_port).close()
    except PortInUse as error:
        if _tells_ours(settings):
            yield Finding("metrics", Level.OK, f"VeriRegime tells them at {place}")
            return
        remedy = "stop what uses it, or choose another with VERIREGIME_METRICS_PORT"
        yield Finding("metrics", Level.FAILED, str(error).partition(": stop")[0], remedy)
        return
    yield Finding("metrics", Level.OK, f"{place} is free")


def logs_and_traces(settings: Settings) -> Iterator[Finding]:
    yield Finding("logs", Level.OK, f"{settings.log_format} on stderr")
    if settings.otlp_endpoint is None:
        return
    if missing := [package for package in _TRACING if not _is_installed(package)]:
        detail = f"VERIREGIME_OTLP_ENDPOINT is set, and {missing[0]} is not installed"
        yield Finding("traces", Level.FAILED, detail, "pip install 'veriregime[tracing]', or unset it")
        return
    parts = urlsplit(str(settings.otlp_endpoint))
    place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    try:
        host, _, port = place.rpartition(":")
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
    except OSError as error:
        detail = f"the collector at {place} cannot be reached: {error.strerror or type(error).__name__}"
        yield Finding(
            "traces", Level.WARNING, detail, "start it, or unset VERIREGIME_OTLP_ENDPOINT; nothing waits for it"
        )
    else:
        yield Finding("traces", Level.OK, f"to the collector at {place}")


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def _of_file(setting: str, path: Path) -> Iterator[Finding]:
    try:
        found = path.stat()
    except OSError as error:
        detail = f"{setting}: {path} cannot be read: {error.strerror}"
        yield Finding("secrets", Level.FAILED, detail, f"put it there, or unset {setting}")
        return
    if (stat.S_ISREG(found.st_mode) and not found.st_size) or stat.S_ISCHR(found.st_mode):
        yield Finding("secrets", Level.FAILED, f"{setting}: {path} is empty", f"write it, or unset {setting}")
    elif not os.access(path, os.R_OK):
        detail = f"{setting}: this user may not read {path}"
        yield Finding("secrets", Level.FAILED, detail, "give the file to the user of the service")
    elif _readable_by_others(path):
        yield Finding("secrets", Level.WARNING, f"{setting}: {path} can be read by others", f"chmod 600 {path}")


def _readable_by_others(path: Path) -> bool:
    """In a folder that is closed to others (systemd's credentials) a file's own mode says nothing."""
    return bool(path.stat().st_mode & 0o006 and path.resolve().parent.stat().st_mode & stat.S_IXOTH)


def _is_plain(settings: Settings, name: str) -> bool:
    """A secret that stands in a variable itself; of a database's URL only a password is one."""
    value = getattr(settings, name)
    text = value.get_secret_value() if value is not None else ""
    return bool(urlsplit(text).password) if name == "database_url" else bool(text)


def _proxies(settings: Settings) -> Finding:
    wide = [text for text in settings.trusted_proxies if _is_wide(text)]
    if wide:
        detail = f"VERIREGIME_TRUSTED_PROXIES: {', '.join(wide)}: whoever is there can pass for any client"
        return Finding("proxies", Level.WARNING, detail, "name the proxies' own addresses")
    if settings.trusted_proxies:
        return Finding("proxies", Level.OK, f"{', '.join(settings.trusted_proxies)} may say who the client is")
    detail = "none is trusted: behind a proxy, all its clients are one and share one limit"
    return Finding("proxies", Level.NOTE, detail, "behind a proxy: VERIREGIME_TRUSTED_PROXIES=its address")


def _is_wide(network: str) -> bool:
    """Of IPv6, customers are counted: a provider gives each 2^64 addresses."""
    found = ipaddress.ip_network(network, strict=False)
    size = found.num_addresses if found.version == 4 else found.num_addresses >> 64
    return size > _WIDE and not found.is_private


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tells_ours(settings: Settings) -> bool:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "") else settings.host  # noqa: S104  it is asked, not bound
    host = f"[{host}]" if ":" in host else host
    try:
        return "veriregime_" in requests.get(f"http://{host}:{settings.metrics_port}/metrics", timeout=2).text
    except requests.RequestException:
        return False
