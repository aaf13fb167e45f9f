"""The audit of what is pinned: what blocks, and what does not pass for a clean answer."""

from __future__ import annotations

import importlib.util
import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
TODAY = date(2026, 11, 21)


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("veriregime_audit", ROOT / "ops/audit/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def exceptions(tmp_path: Path, until: str, reason: str = "only its tests use it") -> Path:
    file = tmp_path / "exceptions.toml"
    file.write_text(f'[[exception]]\npackage = "pypi:some"\nid = "CVE-1"\nreason = "{reason}"\nuntil = {until}\n')
    return file


def pip_answer(**one: object) -> dict[str, object]:
    return {"dependencies": [{"name": "some", "version": "1.0", "vulns": [], **one}]}


WEAK = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}


def test_pip__a_package_that_was_skipped__is_no_clean_answer(audit: ModuleType) -> None:
    with pytest.raises(audit.NotAudited, match="1 packages: some"):
        audit.pip_findings(pip_answer(skip_reason="not found"))


def test_npm__a_registry_that_refuses__is_no_clean_answer(audit: ModuleType) -> None:
    with pytest.raises(audit.NotAudited, match="405"):
        audit.npm_findings("dashboard", {"message": "405 Method Not Allowed"})


def test_npm__a_weakness_is_told_once_however_many_bring_it(audit: ModuleType) -> None:
    via = {"name": "ws", "url": "https://github.com/advisories/GHSA-1", "severity": "high", "title": "Crash"}
    answer = {"vulnerabilities": {"ws": {"via": [via]}, "anvil": {"via": ["ws"]}, "other": {"via": [via]}}}
    (found,) = audit.npm_findings("contracts", answer)
    assert (found.package, found.id) == ("npm:ws", "GHSA-1")


def test_verdict__unlisted__blocks(audit: ModuleType) -> None:
    (line,) = audit.verdict(audit.pip_findings(pip_answer(vulns=[WEAK])), [], TODAY, complete=True)
    assert line == "pypi:some: PYSEC-1: 1.0 is affected, mended in 1.1"


@pytest.mark.parametrize(("until", "wrong"), [("2026-11-21", 0), ("2026-11-20", 1)])
def test_verdict__excepted_by_an_alias__passes_until_the_day_is_over(
    audit: ModuleType, tmp_path: Path, until: str, wrong: int
) -> None:
    granted = audit.read_exceptions(exceptions(tmp_path, until), TODAY)
    found = audit.pip_findings(pip_answer(vulns=[WEAK]))
    assert len(audit.verdict(found, granted, TODAY, complete=True)) == wrong


def test_verdict__an_exception_for_nothing__is_to_be_struck(audit: ModuleType, tmp_path: Path) -> None:
    granted = audit.read_exceptions(exceptions(tmp_path, "2026-12-01"), TODAY)
    assert "strike it" in audit.verdict([], granted, TODAY, complete=True)[0]
    assert audit.verdict([], granted, TODAY, complete=False) == []


@pytest.mark.parametrize(("until", "reason"), [("2027-11-21", "long"), ("2026-12-01", " "), ('"soon"', "some")])
def test_exceptions__without_reason_or_a_near_end__are_refused(
    audit: ModuleType, tmp_path: Path, until: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=r"excepted until|needs package"):
        audit.read_exceptions(exceptions(tmp_path, until, reason), TODAY)


def test_exceptions__those_of_the_project__hold(audit: ModuleType) -> None:
    audit.read_exceptions(ROOT / "ops/audit/exceptions.toml", date.today())
