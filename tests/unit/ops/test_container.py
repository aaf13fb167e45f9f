"""The Dockerfile and the compose files, read as Docker would: there is no engine where the tests run."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ("compose.yaml", "compose.cluster.yaml", "compose.attester.yaml")
OURS = "veriregime:"
SECRET = re.compile(r"KEY|TOKEN|PASSWORD|DATABASE_URL")
STEPS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
LOOPBACK = re.compile(r"127\.0\.0\.1:")


def services() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for file in COMPOSE:
        yield from (
            (file, name, service) for name, service in yaml.safe_load((ROOT / file).read_text())["services"].items()
        )


EACH = pytest.mark.parametrize(
    ("file", "name", "service"), [pytest.param(*one, id=f"{one[0]}:{one[1]}") for one in services()]
)
EACH_OF_OURS = pytest.mark.parametrize(
    ("file", "name", "service"),
    [pytest.param(*one, id=f"{one[0]}:{one[1]}") for one in services() if one[2]["image"].startswith(OURS)],
)


def dockerfile() -> list[tuple[str, str]]:
    """Instructions with what they say; lines that go on are joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))
    return [
        (word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def is_ignored(path: str) -> bool:
    """As Docker reads .dockerignore: the last pattern that fits the path, or a folder that it is in, decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().lstrip("!").rstrip("/")
        if not pattern or pattern.startswith("#"):
            continue
        form = re.sub(r"\*\*/|\*\*|\*|\?|[^*?]+", lambda part: STEPS.get(part[0], re.escape(part[0])), pattern)
        if re.fullmatch(f"{form}(?:/.*)?", path):
            ignored = not line.startswith("!")
    return ignored


@pytest.mark.parametrize("path", ["app/pipeline.py", "dashboard/src/first.js", "models/btc-usdt-4h-v3/manifest.json"])
def test_context__takes_what_the_image_is_made_of(path: str) -> None:
    assert not is_ignored(path)


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "veriregime.env",
        "secrets/submitter_key",
        "app/.env",
        "var/srs/dev-k11.srs",
        ".git/config",
        "app/owner.key",
        "contracts/deployments/1.json",
        "dashboard/node_modules/vite/package.json",
        "app/web/pages/index.html",
    ],
)
def test_context__nothing_else_gets_in__secrets_least(path: str) -> None:
    assert is_ignored(path)


def test_dockerfile__copies_what_is_there_and_not_ignored() -> None:
    sources = [
        part for word, rest in dockerfile() if word == "COPY" and "--from" not in rest for part in rest.split()[:-1]
    ]
    assert len(sources) >= 8
    assert [one for one in sources if not (ROOT / one).exists() or is_ignored(one)] == []


def test_dockerfile__runs_as_nobody_special_and_holds_no_secret() -> None:
    steps = dockerfile()
    users = [rest for word, rest in steps if word == "USER"]
    assert users[-1] == "10001:10001"
    assert [rest for word, rest in steps if word in ("ENV", "ARG") and SECRET.search(rest)] == []
    assert ("STOPSIGNAL", "SIGTERM") in steps


def test_dockerfile__base_images_are_named_by_version() -> None:
    images = dict(rest.split("=", 1) for word, rest in dockerfile() if word == "ARG" and "-slim" in rest)
    assert {rest.split()[0] for word, rest in dockerfile() if word == "FROM"} == {"node:${NODE}", "python:${PYTHON}"}
    assert all(re.match(r"\d+\.\d+\.\d+-\w+", tag) for tag in images.values())


def test_dockerfile__settings_are_known(setting_names: frozenset[str], understood: Callable[..., None]) -> None:
    words = " ".join(rest for word, rest in dockerfile() if word == "ENV")
    assert set(re.findall(r"VERIREGIME_\w+", words)) <= setting_names
    understood(eval(next(rest for word, rest in dockerfile() if word == "CMD")))


@EACH
def test_service__is_locked_in(file: str, name: str, service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 512
    assert service["mem_limit"]
    assert service["restart"] == "unless-stopped"
    assert int(service["stop_grace_period"].rstrip("s")) >= 15
    assert all(":size=" in one for one in service.get("tmpfs", []))
    user = str(service.get("user", "0"))
    assert service["image"].startswith(OURS) or user.split(":")[0] != "0"  # ours has its user from the Dockerfile


@EACH
def test_service__image_is_named_by_version_and_its_health_is_asked_for(
    file: str, name: str, service: dict[str, Any]
) -> None:
    assert re.search(r":v?\d+\.\d+", service["image"])
    assert service["image"].startswith(OURS) or service["healthcheck"]["test"][0] == "CMD"


@EACH
def test_service__ports_are_on_loopback_but_the_proxy_s(file: str, name: str, service: dict[str, Any]) -> None:
    open_ports = [one for one in service.get("ports", []) if not LOOPBACK.match(one)]
    assert name == "proxy" or open_ports == []


@EACH
def test_service__secrets_come_as_files_only(file: str, name: str, service: dict[str, Any]) -> None:
    for variable, value in service.get("environment", {}).items():
        assert not SECRET.search(variable) or (variable.endswith("FILE") and value.startswith("/run/secrets/"))
        assert not str(value).startswith("/run/secrets/") or value.removeprefix("/run/secrets/") in service["secrets"]


@EACH
def test_service__volumes_networks_and_secrets_are_declared(file: str, name: str, service: dict[str, Any]) -> None:
    whole = yaml.safe_load((ROOT / file).read_text())
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert source in whole["volumes"] or (source.startswith("./") and volume.endswith(":ro"))
        made_by_operator = source == "./contracts/deployments"
        assert not source.startswith("./") or made_by_operator or (ROOT / source).exists()
    assert set(service.get("secrets", [])) <= set(whole["secrets"])
    assert set(service.get("networks", [])) <= set(whole.get("networks", {}))


@EACH_OF_OURS
def test_role__its_command_and_settings_exist(
    file: str,
    name: str,
    service: dict[str, Any],
    understood: Callable[[Sequence[str]], None],
    setting_names: frozenset[str],
) -> None:
    if service["command"][0] != "dask":
        understood(service["command"])
    named = {one for one in service["environment"] if one.startswith("VERIREGIME_")}
    assert named <= setting_names


@EACH_OF_OURS
def test_role__health_is_asked_of_the_port_that_answers(file: str, name: str, service: dict[str, Any]) -> None:
    environment = service["environment"]
    metrics = environment.get("VERIREGIME_METRICS_PORT")
    url = environment.get("HEALTH_URL", "http://127.0.0.1:8000/healthz")
    if metrics is not None:
        assert url == f"http://127.0.0.1:{metrics}/metrics"
    elif service["command"][1] == "attest":
        assert url == f"http://127.0.0.1:{service['command'][-1]}/healthz"
    else:
        assert service["command"][-1] in ("serve", "api") or "healthcheck" in service


def test_cluster__the_api_knows_its_proxy() -> None:
    whole = yaml.safe_load((ROOT / "compose.cluster.yaml").read_text())
    (network,) = whole["networks"]["inside"]["ipam"]["config"]
    trusted = whole["services"]["api"]["environment"]["VERIREGIME_TRUSTED_PROXIES"]
    assert ipaddress.ip_network(trusted) == ipaddress.ip_network(network["subnet"])
    shared = set(whole["services"]["api"]["networks"]) & set(whole["services"]["proxy"]["networks"])
    assert shared == {"inside"}


def test_cluster__only_the_submitter_can_send() -> None:
    whole = yaml.safe_load((ROOT / "compose.cluster.yaml").read_text())
    assert [name for name, one in whole["services"].items() if "submitter_key" in one.get("secrets", [])] == [
        "submitter"
    ]


def test_image_versions_are_the_package_s() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    ours = {one["image"].split(":")[1].split("-")[0] for _, _, one in services() if one["image"].startswith(OURS)}
    assert ours == {version[1]}


def test_monitoring__asks_every_role_that_tells_metrics() -> None:
    scraped = yaml.safe_load((ROOT / "ops/compose/prometheus.yaml").read_text())["scrape_configs"][0]["dns_sd_configs"]
    asked = {(name, one["port"]) for one in scraped for name in one["names"]}
    roles = yaml.safe_load((ROOT / "compose.cluster.yaml").read_text())["services"]
    ports = {
        (name, int(one["environment"].get("VERIREGIME_METRICS_PORT", 8000)))
        for name, one in roles.items()
        if "veriregime" in one.get("command", ()) and not one.get("healthcheck", {}).get("disable")
    }
    assert asked == ports
