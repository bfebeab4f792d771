"""Memory of the live dispatcher over time: `python -m benchmarks.soak --minutes 10`.

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

import numpy as np
import psutil

from benchmarks.dispatch import HOST, free_port, load, orders, wait_until_ready

LOOKS = ("/v1/system/health", "/v1/system/jobs", "/metrics")
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=20.0, help="orders a second (default: %(default)s)")
    parser.add_argument("--bundle", default="reports/winners/battery", help="default: %(default)s")
    arguments = parser.parse_args()
    bodies, port = orders(3), free_port()
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
            memory_mib = [_minute(server.pid, port, bodies, arguments.rate, i) for i in range(arguments.minutes)]
        finally:
            server.terminate()
            server.wait(timeout=60)
    if len(memory_mib) >= 4:
        later = np.arange(1, len(memory_mib))  # the first minute fills caches
        growth = np.polyfit(later, np.array(memory_mib)[later], 1)[0]
        print(f"after the first minute memory grew by {growth:+.2f} MiB a minute; exit status {server.returncode}")


def _minute(pid: int, port: int, bodies: list[bytes], rate: float, number: int) -> float:
    latencies_ms, _ = load(port, bodies, rate, int(rate * 60))
    for path in LOOKS:
        urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=10).read()
    server = psutil.Process(pid)
    family = [server, *server.children(recursive=True)]
    memory_mib = sum(each.memory_full_info().uss for each in family) / MIB
    p50, p99 = np.percentile(latencies_ms, [50, 99])
    files, threads = (sum(getattr(each, count)() for each in family) for count in ("num_fds", "num_threads"))
    print(f"| {number + 1} | {memory_mib:.1f} | {p50:.1f} | {p99:.1f} | {threads} | {files} |", flush=True)
    return memory_mib


if __name__ == "__main__":
    main()
