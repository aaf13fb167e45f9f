"""One target under libFuzzer, by atheris: what ``python -m tests.fuzz`` starts for each.

A process of its own, because native code that an input brings down takes its process with it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]

INSTRUMENTED = ["app.audit", "app.candles.files", "app.features", "app.types", "app.chain.attestation", "app.web"]
SLOW_S = 1.0
_SAVE_EVERY = 500
_MOST_BYTES = 2**16
"""Of an input before it is expanded."""
_FROM_CORPUS = 0.4
"""What the fuzzer found to be new is often so broken that a change to it shows nothing; the rest starts from a seed."""
_BY_STRUCTURE = 0.9


class Recorder:
    """Runs inputs, and keeps what came of them in ``TARGET.json`` of the folder."""

    def __init__(self, name: str, run: Callable[[bytes], str], folder: Path, runs: int) -> None:
        self._name, self._run, self._folder, self._runs = name, run, folder, runs
        self._outcomes: Counter[str] = Counter()
        self._findings: dict[str, str] = {}
        self._slowest_s, self._done, self._spent_s = 0.0, 0, 0.0

    def take(self, raw: bytes) -> None:
        """Never raises: the session goes on after a finding, to find others."""
        outcome, seconds = self._timed(raw)
        if seconds > SLOW_S:  # this machine may have been busy with something else
            seconds = min(seconds, self._timed(raw)[1], self._timed(raw)[1])
        self._outcomes[outcome] += 1
        self._done += 1
        self._spent_s += seconds
        if seconds > self._slowest_s:
            self._slowest_s = seconds
            (self._folder / f"{self._name}-slowest.input").write_bytes(raw)
        if seconds > SLOW_S:
            self._found(f"slow: over {SLOW_S} s", f"{seconds:.2f} s", raw)
        if self._done % _SAVE_EVERY == 0 or self._done >= self._runs:
            self.save()

    def save(self) -> None:
        told = {
            "runs": self._done,
            "outcomes": dict(self._outcomes.most_common()),
            "findings": self._findings,
            "slowest_s": self._slowest_s,
            "seconds": self._spent_s,
        }
        target = self._folder / f"{self._name}.json"
        target.with_suffix(".part").write_text(json.dumps(told, indent=1))
        target.with_suffix(".part").replace(target)

    def _timed(self, raw: bytes) -> tuple[str, float]:
        started = time.perf_counter()
        try:
            outcome = self._run(raw)
        except Exception as error:  # noqa: BLE001  whatever comes out is what is looked for
            outcome = f"finding: {type(error).__name__}"
            self._found(self._kind(error), "".join(traceback.format_exception(error)), raw)
        return outcome, time.perf_counter() - started

    @staticmethod
    def _kind(error: Exception) -> str:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"

    def _found(self, kind: str, words: str, raw: bytes) -> None:
        if kind in self._findings:
            return
        path = self._folder / f"{self._name}-{hashlib.sha256(raw).hexdigest()[:12]}.finding"
        path.write_bytes(raw)
        self._findings[kind] = path.name
        print(f"FINDING {kind}: {path}\n{words}", file=sys.stderr, flush=True)


def main() -> None:
    options = _options()
    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    with TARGETS[options.target](options.folder) as target:
        warnings.simplefilter("error")
        recorder = Recorder(options.target, target.run, options.folder, options.runs)
        corpus = options.folder / f"{options.target}-corpus"
        corpus.mkdir(exist_ok=True)
        seeds = target.seeds()
        for number, seed in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(seed)

        def test_one_input(raw: bytes) -> None:
            recorder.take(target.expand(raw))

        def mutate(raw: bytes, most: int, seed: int) -> bytes:
            rng = Random(seed)
            start = raw if rng.random() < _FROM_CORPUS else rng.choice(seeds)
            spoilt = target.mutate(start, rng) if rng.random() < _BY_STRUCTURE else atheris.Mutate(start, most)
            return bytes(spoilt[:most])

        atheris.Setup(_libfuzzer(options, corpus), test_one_input, custom_mutator=mutate)
        atheris.Fuzz()


def _options() -> Any:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    return parser.parse_args()


def _libfuzzer(options: Any, corpus: Path) -> list[str]:
    return [
        sys.argv[0],
        str(corpus),
        f"-atheris_runs={options.runs}",
        f"-seed={options.seed}",
        f"-max_len={_MOST_BYTES}",
        "-len_control=0",
        "-mutate_depth=1",
        "-timeout=30",
        "-rss_limit_mb=3072",
        f"-artifact_prefix={options.folder}{os.sep}{options.target}-",
        "-print_final_stats=1",
    ]


if __name__ == "__main__":
    main()
