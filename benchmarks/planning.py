"""Milliseconds per MPC decision: `python -m benchmarks.planning`."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from baselines.mpc import MpcPolicy
from envs.battery import BatterySystem
from envs.scenario import default_scenario
from envs.single import SystemEnv
from evaluation.rollout import play


def main() -> None:
    env = SystemEnv(BatterySystem(default_scenario("validation", "week")))
    trace = play(env, MpcPolicy.for_env(env), seed=0)["decision_ms"].to_numpy()[1:]
    median, p99 = np.percentile(trace, [50.0, 99.0])
    print(f"battery MPC, 48 half-hours, {trace.size} decisions: median {median:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
