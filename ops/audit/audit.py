"""Asks for known weaknesses of what is pinned, and compares them with the exceptions that were granted: `make audit`.

Exit code 0: nothing is known that was not excepted. 1: something is, or an exception has lapsed. 2: somebody could not
be asked, which is no better than 1: pip-audit calls a package that it could not look up no finding.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NPM_FOLDERS = ("contracts", "dashboard")
LONGEST = timedelta(days=90)
_PATIENCE_S = 300


class NotAudited(Exception):
    """Somebody who knows could not be asked."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    package: str
    """``pypi:requests``, ``npm:vite``."""
    id: str
    """Of the advisory: GHSA-…, PYSEC-…, CVE-…"""
    words: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Excepted:
    package: str
    id: str
    reason: str
    until: date


def read_exceptions(file: Path, today: date) -> list[Excepted]:
    """Raises `ValueError` for one that lacks a reason, or an end within `LONGEST`."""
    granted = [_exception(one) for one in tomllib.loads(file.read_text()).get("exception", [])]
    for one in granted:
        if one.until > today + LONGEST:
            raise ValueError(f"{one.id} of {one.package} is excepted until {one.until}: {LONGEST.days} days at most")
    return granted


def pip_findings(answer: Mapping[str, Any]) -> list[Finding]:
    """Of pip-audit's JSON. Raises `NotAudited` when it left a package out."""
    skipped = [one["name"] for one in answer["dependencies"] if "skip_reason" in one]
    if skipped:
        raise NotAudited(f"pip-audit could not look up {len(skipped)} packages: {', '.join(skipped[:3])} …")
    return [
        Finding(f"pypi:{one['name']}", weak["id"], _mended(one, weak), tuple(weak.get("aliases", ())))
        for one in answer["dependencies"]
        for weak in one["vulns"]
    ]


def npm_findings(folder: str, answer: Mapping[str, Any]) -> list[Finding]:
    """Of ``npm audit --json``. Raises `NotAudited` when the registry gave no answer."""
    if "vulnerabilities" not in answer:
        raise NotAudited(f"npm audit of {folder}/: {str(answer.get('message') or 'no answer')[:200]}")
    advisories = {
        (via["name"], via["url"].rpartition("/")[2]): f"{via['severity']}: {via['title']} ({folder}/)"
        for one in answer["vulnerabilities"].values()
        for via in one["via"]
        if isinstance(via, dict)  # else it names the package that brings it, which has an entry of its own
    }
    return [Finding(f"npm:{name}", id, words) for (name, id), words in advisories.items()]


def verdict(findings: Iterable[Finding], exceptions: Sequence[Excepted], today: date, *, complete: bool) -> list[str]:
    """What is wrong, a line each; none where all is well.

    Only where everybody has answered (``complete``) can an exception be called one too many.
    """
    wrong, used = [], set()
    for found in sorted(findings):
        granted = next((one for one in exceptions if _covers(one, found)), None)
        line = f"{found.package}: {found.id}: {found.words}"
        if granted is None:
            wrong.append(line)
            continue
        used.add(granted)
        if granted.until < today:
            wrong.append(f"{line}; its exception ended on {granted.until}")
    needless = [one for one in exceptions if complete and one not in used]
    return wrong + [f"{one.package}: {one.id} is excepted and no longer found: strike it" for one in needless]


def _covers(granted: Excepted, found: Finding) -> bool:
    return granted.package == found.package and granted.id in (found.id, *found.aliases)


def _exception(one: Mapping[str, Any]) -> Excepted:
    until, words = one.get("until"), {name: str(one.get(name, "")).strip() for name in ("package", "id", "reason")}
    missing = [name for name, value in words.items() if not value]
    if missing or type(until) is not date:
        raise ValueError(f"an exception needs package, id, reason and until (a date): {dict(one)}")
    return Excepted(**words, until=until)


def _mended(one: Mapping[str, Any], weak: Mapping[str, Any]) -> str:
    fixed = ", ".join(weak.get("fix_versions") or ())
    return f"{one['version']} is affected, " + (f"mended in {fixed}" if fixed else "not mended yet")


def _ask(command: Sequence[str], folder: Path) -> Any:
    """Both programs exit with 1 when they find something: what counts is whether they answer in JSON."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise NotAudited(f"{Path(command[0]).name}: {last[:200]}") from None


def _everything(pip_audit: str) -> tuple[list[Finding], list[str]]:
    """All findings, and who could not be asked."""
    pins = [pip_audit, "-r", "constraints.txt", "--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off"]
    questions: list[tuple[Callable[[Any], list[Finding]], list[str], Path]] = [(pip_findings, pins, ROOT)]
    questions += [(partial(npm_findings, name), ["npm", "audit", "--json"], ROOT / name) for name in NPM_FOLDERS]
    found, silent = [], []
    for read, command, folder in questions:
        try:
            found += read(_ask(command, folder))
        except (NotAudited, OSError, subprocess.TimeoutExpired) as error:
            silent.append(str(error))
    return found, silent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pip-audit", default="pip-audit", help="the program, in an environment of its own")
    parser.add_argument("--exceptions", type=Path, default=Path(__file__).with_name("exceptions.toml"))
    given = parser.parse_args()
    today = date.today()
    try:
        exceptions = read_exceptions(given.exceptions, today)
    except ValueError as error:
        print(f"{given.exceptions}: {error}", file=sys.stderr)
        return 1
    found, silent = _everything(given.pip_audit)
    wrong = verdict(found, exceptions, today, complete=not silent)
    print("\n".join([*wrong, *(f"NOT AUDITED: {one}" for one in silent)] or [f"{len(found)} known, all excepted"]))
    return 2 if silent else 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
