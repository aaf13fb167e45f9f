"""The systemd units: their commands and settings exist, and nothing runs with more than it needs."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "ops/systemd"
SERVICES = sorted(FOLDER.glob("*.service"))
DROP_INS = sorted((FOLDER / "drop-ins").glob("*.conf"))
ROLES = [path for path in SERVICES if "backup" not in path.name]
PROGRAM = "/opt/veriregime/bin/veriregime"
LOCKS = {
    "CapabilityBoundingSet": "",
    "NoNewPrivileges": "true",
    "ProtectSystem": "strict",
    "ProtectHome": "true",
    "PrivateTmp": "true",
    "PrivateDevices": "true",
    "PrivateUsers": "true",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "true",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",  # libuv tries calls that are refused, and must live to hear it
    "UMask": "0077",
    "User": "veriregime",
    "LimitCORE": "0",  # a core would hold keys
}

Unit = dict[str, list[str]]


def read(path: Path) -> Unit:
    found: Unit = defaultdict(list)
    for line in path.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name].append(value)
    return found


def command(line: str) -> list[str]:
    """Of `veriregime`, with whatever the shell or the instance would put in."""
    words = line.replace("%i", "8001").replace("%%", "%").replace("$$", "$")
    if words.startswith("/bin/sh -c"):
        words = re.sub(r"\$\(.*?\)", "NOW", shlex.split(words)[2].removeprefix("exec "))
    return ["veriregime", *shlex.split(words.removeprefix(PROGRAM))]


def names(units: Sequence[Path]) -> list[str]:
    return [path.name for path in units]


@pytest.mark.parametrize("path", SERVICES, ids=names(SERVICES))
def test_unit__is_locked_in(path: Path) -> None:
    unit = read(path)
    assert {name: unit[name][0] for name in LOCKS} == LOCKS
    assert unit["SystemCallFilter"] == ["@system-service", "~@privileged"]
    assert unit["MemoryMax"]


@pytest.mark.parametrize("path", ROLES, ids=names(ROLES))
def test_role__drains_and_comes_back(path: Path) -> None:
    unit = read(path)
    assert (unit["KillMode"], unit["KillSignal"], unit["Restart"]) == (["mixed"], ["SIGTERM"], ["always"])
    assert 10 < int(unit["TimeoutStopSec"][0]) <= 30
    assert unit["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("path", SERVICES, ids=names(SERVICES))
def test_unit__its_commands_exist(path: Path, understood: Callable[[Sequence[str]], None]) -> None:
    ours = [line for line in read(path)["ExecStart"] if PROGRAM in line]
    assert len(ours) == 1
    understood(command(ours[0]))


@pytest.mark.parametrize("path", [*SERVICES, *DROP_INS], ids=names([*SERVICES, *DROP_INS]))
def test_unit__its_settings_exist_and_its_secrets_are_credentials(path: Path, setting_names: frozenset[str]) -> None:
    unit = read(path)
    given = dict(pair.split("=", 1) for line in unit["Environment"] for pair in line.split())
    assert set(given) <= setting_names
    loaded = {line.partition(":")[0] for name in ("LoadCredential", "LoadCredentialEncrypted") for line in unit[name]}
    assert {value.removeprefix("%d/") for value in given.values() if value.startswith("%d/")} == loaded
    assert [name for name in given if re.search("KEY$|TOKEN$|PASSWORD$|DATABASE_URL$", name)] == []


def test_roles__only_who_sends_has_the_submitters_key() -> None:
    holders = [path.name for path in SERVICES if any("submitter_key" in one for one in read(path)["LoadCredential"])]
    assert holders == ["veriregime-submitter.service"]


def test_timer__has_its_service() -> None:
    (timer,) = FOLDER.glob("*.timer")
    assert timer.with_suffix(".service") in SERVICES
    assert read(timer)["Persistent"] == ["true"]
