"""Memory of the live dispatcher over time: `python -m benchmarks.soak --minutes 10` writes `soak.png`.

The real server, as an operator starts it, with its store and jobs, under a steady load of orders and of somebody who
looks at health and metrics. Memory is that of the server and of the processes it started.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib as mpl
import numpy as np
import psutil

from benchmarks.dispatch import HOST, free_port, load, orders, wait_until_ready
from evaluation.drawing import COLOURS, STYLE, WIDE_IN, panels, png

LOOKS: Final = ("/v1/system/health", "/v1/system/jobs", "/metrics")
MIB: Final = 1 << 20
SAMPLES: Final = 4  # a minute
WARM_MIN: Final = 2  # caches fill
PROCESSES: Final = ("server", "policy", "planner")
FILE: Final = Path(__file__).with_name("soak.png")


class Sample(NamedTuple):
    """What was seen at the end of a quarter of a minute: memory of each process, their threads and open files."""

    minute: float
    memory_mib: tuple[float, ...]
    latencies_ms: np.ndarray
    threads: int
    files: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=20.0, help="orders a second (default: %(default)s)")
    parser.add_argument("--bundle", default="reports/winners/battery", help="default: %(default)s")
    arguments = parser.parse_args()
    bodies, port, samples = orders(3), free_port(), list[Sample]()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "serve.py", f"bundle={arguments.bundle}", f"port={port}"]
        environment = os.environ | {"GRIDPILOT_DATABASE_URL": f"sqlite:///{folder}/state.db"}
        log, root = Path(folder) / "log", Path(__file__).parents[1]
        began = time.perf_counter()
        with log.open("wb") as file:
            server = subprocess.Popen(command, cwd=root, env=environment, stdout=file, stderr=file)
        try:
            wait_until_ready(server, port, log)
            print(f"ready after {time.perf_counter() - began:.1f} s")
            print("| minute | memory, MiB | p50, ms | p99, ms | threads | open files |\n|--:|--:|--:|--:|--:|--:|")
            for number in range(1, SAMPLES * arguments.minutes + 1):
                samples.append(_sample(server.pid, port, bodies, arguments.rate, number / SAMPLES))
                if number % SAMPLES == 0:
                    print(_row(samples[-SAMPLES:]), flush=True)
        finally:
            server.terminate()
            server.wait(timeout=60)
    later = [sample for sample in samples if sample.minute > WARM_MIN]
    if len(later) > SAMPLES:
        minutes, totals = zip(*((sample.minute, sum(sample.memory_mib)) for sample in later), strict=True)
        growth = np.polyfit(minutes, totals, 1)[0]
        print(f"after {WARM_MIN} minutes memory grew by {growth:+.2f} MiB a minute; exit status {server.returncode}")
    draw(samples)


def _sample(pid: int, port: int, bodies: list[bytes], rate: float, minute: float) -> Sample:
    latencies_ms, _ = load(port, bodies, rate, int(rate * 60 / SAMPLES))
    for path in LOOKS:
        urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=10).read()
    server = psutil.Process(pid)
    family = [server, *sorted(server.children(recursive=True), key=lambda each: each.create_time())]
    seen = [each.memory_info() for each in family]
    memory_mib = tuple((each.rss - each.shared) / MIB for each in seen)  # files in memory are other processes' too
    files, threads = (sum(getattr(each, count)() for each in family) for count in ("num_fds", "num_threads"))
    return Sample(minute, memory_mib, latencies_ms, threads, files)


def _row(samples: list[Sample]) -> str:
    last = samples[-1]
    p50, p99 = np.percentile(np.concatenate([sample.latencies_ms for sample in samples]), [50, 99])
    return f"| {last.minute:g} | {sum(last.memory_mib):.1f} | {p50:.1f} | {p99:.1f} | {last.threads} | {last.files} |"


@mpl.rc_context(STYLE)
def draw(samples: list[Sample]) -> None:
    """Memory of each process by time."""
    figure, (axis,) = panels(1, WIDE_IN, 2.6)
    minutes = [sample.minute for sample in samples]
    for i, (name, colour) in enumerate(zip(PROCESSES, COLOURS, strict=False)):
        axis.plot(minutes, [sample.memory_mib[i] for sample in samples], color=colour, label=name)
    axis.set(title="Memory of the live dispatcher", xlabel="minutes", ylabel="MiB of its own")
    axis.set_ylim(bottom=0.0)
    axis.grid(visible=True)
    axis.legend(ncols=len(PROCESSES))
    png(figure, FILE)
    print(f"{FILE.name}: {FILE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
