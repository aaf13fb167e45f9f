"""What ops/ asks Prometheus for is what a running service tells: each metric, each label, each runbook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.types import Prediction
from app.web.application import create_web
from app.wiring import Application

ROOT = Path(__file__).resolve().parents[3]
ALERTS = yaml.safe_load((ROOT / "ops" / "prometheus" / "alerts.yaml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "ops" / "grafana" / "veriregime.json").read_text())
RUNBOOK = (ROOT / "docs" / "monitoring.md").read_text()
PANELS: dict[str, list[str]] = {
    panel["title"]: [target["expr"] for target in panel["targets"]]
    for panel in DASHBOARD["panels"]
    if panel["type"] != "row"
}
OF_PROMETHEUS = {"job", "instance"}
"""What it adds to every sample itself."""
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture(scope="module")
def told(app: Application, confirmed: Prediction) -> dict[str, set[str]]:
    """Labels of every sample that a service and an attester tell after a tick, a proof, a round and some requests."""
    app.pipeline.tick(confirmed.feed, confirmed.window_end_ms)
    app.pipeline.tell()
    web = create_web(app)
    with TestClient(web) as client:
        client.get(f"/v1/feeds/{confirmed.feed}/latest")
        own = client.get("/metrics").text
    with app.database.unit_of_work(write=False) as store:
        assert app.target is not None
        answers = store.attestations.of(confirmed.id, app.target.oracle)
    attester = next(answer.attester for answer in answers if answer.attester.startswith("http"))
    theirs = requests.get(f"{attester}/metrics", timeout=10).text
    return declared(app) | samples(own) | samples(theirs)


def samples(exposition: str) -> dict[str, set[str]]:
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def declared(app: Application) -> dict[str, set[str]]:
    """Metrics of what did not happen: they have no sample yet."""
    return {
        one._name + suffix: {*one._labelnames, "le"} if suffix == "_bucket" else set(one._labelnames)
        for one in vars(app.metrics).values()
        if hasattr(one, "_labelnames")
        for suffix in _SUFFIXES.get(one._type, ("",))
    }


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Every metric that an expression asks for, with the labels that it is selected by or put together by."""
    parsed = promql_parser.parse(expression.replace("$__rate_interval", "5m"))
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r"[,\s]+", group)}
    for node in nodes(parsed):
        if isinstance(node, promql_parser.VectorSelector):
            matchers = {matcher.name for matcher in node.matchers.matchers}
            yield str(node.name), {label for label in matchers | grouped if label}


def nodes(node: Any) -> Iterator[Any]:
    """A node of a parsed expression and all below it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vs", "vector_selector", "args", "param"):
        below = getattr(node, name, None)
        for one in below if isinstance(below, list) else [below]:
            if isinstance(one, promql_parser.Expr | promql_parser.VectorSelector):
                yield from nodes(one)


def unknown(expression: str, told: dict[str, set[str]]) -> list[str]:
    asked = [(name, labels) for name, labels in selectors(expression) if name != "up"]
    missing = [name for name, _ in asked if name not in told]
    known = set().union(OF_PROMETHEUS, *(told.get(name, set()) for name, _ in asked))
    return missing + [f"{name}{{{label}}}" for name, labels in asked for label in labels if label not in known]


def test_unknown__a_wrong_name_or_label__is_found(told: dict[str, set[str]]) -> None:
    assert unknown("max(veriregime_forecast_age) > 1", told) == ["veriregime_forecast_age"]
    wrong = 'sum by (fed) (rate(veriregime_ticks_total{outcome="failed"}[5m]))'
    assert unknown(wrong, told) == ["veriregime_ticks_total{fed}"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert__asks_for_what_is_told(rule: dict[str, Any], told: dict[str, set[str]]) -> None:
    assert list(selectors(rule["expr"]))
    assert unknown(rule["expr"], told) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert__has_severity_words_and_a_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert {"summary", "description", "runbook"} == set(rule["annotations"])
    assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{rule['alert'].lower()}"
    assert f"### {rule['alert']}\n" in RUNBOOK


def test_runbook__every_section__is_of_an_alert() -> None:
    assert set(re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)) == {rule["alert"] for rule in RULES}


def test_alerts_test__every_alert__is_played() -> None:
    played = (ROOT / "ops" / "prometheus" / "alerts-test.yaml").read_text()
    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}"' not in played] == []


@pytest.mark.parametrize("panel", PANELS)
def test_panel__asks_for_what_is_told(panel: str, told: dict[str, set[str]]) -> None:
    for expression in PANELS[panel]:
        assert list(selectors(expression))
        assert unknown(expression, told) == []
        assert "$instance" in expression


def test_variables__ask_for_what_is_told(told: dict[str, set[str]]) -> None:
    queries = [one["definition"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    for query in queries:
        name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert label in told[name] | OF_PROMETHEUS


def test_metrics__names__follow_the_convention(told: dict[str, set[str]]) -> None:
    ours = [name for name in told if not name.startswith(("process_", "python_"))]
    assert all(re.fullmatch(r"veriregime_[a-z_]+", name) for name in ours)
    assert not [name for name in ours if re.search(r"_(ms|milliseconds|minutes|mib|kib|percent)$", name)]


def test_monitoring_guide__tells_of_every_metric(told: dict[str, set[str]]) -> None:
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in told}
    assert {name for name in families if name.startswith("veriregime_") and name not in RUNBOOK} == set()
