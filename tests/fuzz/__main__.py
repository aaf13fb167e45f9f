"""``python -m tests.fuzz --runs 100000 --seed 1 --report PATH``, and ``--replay FILE`` for what it found."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from tests.fuzz.report import TargetReport, as_json
from tests.fuzz.targets import ROOT, SHARES, TARGETS

_MOST_SESSIONS = 5
"""Of a target: each that native code brings down is followed by another for the rest."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.replay:
        return replay(options.replay)
    folder = options.findings or Path(tempfile.mkdtemp(prefix="veriregime-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    shared = sum(SHARES[target] for target in options.targets)
    reports = []
    for target in options.targets:
        reports.append(fuzz(target, ceil(options.runs * SHARES[target] / shared), options.seed, folder))
        print(reports[-1].words(), flush=True)
    whole = as_json(options.seed, reports)
    if options.report:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"{whole['runs']:,} inputs, {whole['findings']} findings, slowest {whole['slowest_s']:.3f} s: {folder}")
    return 1 if whole["findings"] or whole["runs"] < options.runs else 0


def fuzz(target: str, runs: int, seed: int, folder: Path) -> TargetReport:
    """At least ``runs`` inputs on one target; what is found is kept in ``folder``."""
    report = TargetReport(target)
    for session in range(_MOST_SESSIONS):
        left = runs - report.runs
        if left <= 0:
            break
        command = [sys.executable, "-m", "tests.fuzz.session", target, "--runs", str(left)]
        command += ["--seed", str(seed + session), "--folder", str(folder)]
        with (folder / f"{target}.log").open("a+b") as log:
            begun = log.tell()
            code = subprocess.run(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            ).returncode
            log.seek(begun)
            if report.add(folder, code, log.read().decode(errors="replace")) == 0:
                break
    return report


def replay(path: Path) -> int:
    """Run a kept input once more; the file's name begins with its target's."""
    name = path.name.partition("-")[0]
    with tempfile.TemporaryDirectory() as folder, TARGETS[name](Path(folder)) as target:
        raw = path.read_bytes() if path.suffix in (".finding", ".input") else target.expand(path.read_bytes())
        started = time.perf_counter()
        print(target.run(raw))
        print(f"{len(raw):,} bytes, {time.perf_counter() - started:.3f} s")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="inputs over all targets")
    parser.add_argument("--seed", type=int, default=1, help="the same runs again, as far as clocks allow")
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--report", type=Path, help="write the figures there, as JSON")
    parser.add_argument("--findings", type=Path, help="folder for inputs, logs and corpora (a new one)")
    parser.add_argument("--replay", type=Path, help="a kept input, once more")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
