"""Orders lost or doubled when the process is killed again and again: `python -m benchmarks.kills --kills 200`.

The loop of `dispatch.execution` (telemetry, decision, risk, journal, market) runs in a process of its own against a
market over HTTP and is ended by SIGKILL after a random time, then started again on what it left behind.
"""

import argparse
import random
import tempfile
from pathlib import Path

from tests.test_execution import check_nothing_lost_or_doubled, kill_again_and_again


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--longest-s", type=float, default=0.25, help="longest life after start (default: %(default)s)")
    arguments = parser.parse_args()
    delays_s = [random.uniform(0.0, arguments.longest_s) for _ in range(arguments.kills)]
    with tempfile.TemporaryDirectory() as folder:
        book, store, committed = kill_again_and_again(Path(folder), delays_s)
        steps = check_nothing_lost_or_doubled(book, store, committed)
    print(f"{arguments.kills} kills, {steps} steps committed: every order at the market once, no step decided twice")


if __name__ == "__main__":
    main()
