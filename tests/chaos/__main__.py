"""``python -m tests.chaos``: the long form. Exit code 1 if any invariant did not hold or anything did not recover."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.driving import Result
from tests.chaos.run import plays, run


def main() -> int:
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    folder = Path(options.folder or tempfile.mkdtemp(prefix="veriregime-chaos-"))
    played = plays(options.seed, options.faults, options.hours, options.speed)
    report = run(options.seed, played, folder, options.limit_s, _tell, options.hours)
    if options.report is not None:
        report.write(options.report)
    print(report.markdown())
    if report.failures:
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=30.0, help="of the markets, summed over the rigs")
    parser.add_argument("--speed", type=float, default=60.0, help="market seconds per second")
    parser.add_argument("--limit-s", type=float, default=1140.0)
    parser.add_argument("--report", type=Path, help="where the JSON goes")
    parser.add_argument("--folder", help="for logs and databases; else a temporary one, kept if anything failed")
    return parser.parse_args()


def _tell(result: Result) -> None:
    recovery = "-" if result.recovery_s is None else f"{result.recovery_s:.1f} s"
    print(f"{result.rig} {result.number + 1}: {result.fault}: {recovery}, {result.result}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
