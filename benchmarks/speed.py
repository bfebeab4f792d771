"""Env-steps a second of every environment: `python -m benchmarks.speed`.

Random actions, resets included, one thread, synthetic data. Each figure is the median of five rounds; the ratio of
a batched figure to the single environment of the same run says more than either on a shared machine.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import statistics
import time
from collections.abc import Callable

import gymnasium as gym
import numpy as np

from envs import SYSTEMS
from envs.single import SystemEnv
from envs.vector import LaneRunner

LANES = (1, 16, 64, 256, 1024, 4096)
ROUNDS = 5
ROUND_S = 0.4


def steps_per_second(step: Callable[[], object], lanes: int) -> float:
    """Median over rounds of env-steps a second; `step` advances `lanes` lanes once."""
    step()
    rates = []
    for _ in range(ROUNDS):
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < ROUND_S:
            for _ in range(16):
                step()
            done += 16 * lanes
        rates.append(done / (time.perf_counter() - began))
    return statistics.median(rates)


def single(env: SystemEnv) -> float:
    """The Gymnasium environment, one step at a time."""
    actions = (
        np.random.default_rng(0)
        .uniform(env.action_space.low, env.action_space.high, (256, len(env.system.action_fields)))
        .astype(np.float32)
    )
    env.reset(seed=0)
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if env.step(actions[count % 256])[2]:
            env.reset()

    return steps_per_second(step, 1)


def batched(env: SystemEnv, lanes: int) -> float:
    """Many lanes in one call."""
    runner = LaneRunner(env.system, lanes)
    runner.reset(list(range(lanes)))
    actions = (
        np.random.default_rng(0)
        .uniform(env.action_space.low, env.action_space.high, (lanes, len(env.system.action_fields)))
        .astype(np.float32)
    )
    return steps_per_second(lambda: runner.step(actions), lanes)


def main() -> None:
    print(
        "| environment | bytes per lane | single env |" + "".join(f" {n} lanes |" for n in LANES) + " 1024 / single |"
    )
    print("|---|---|---|" + "---|" * (len(LANES) + 1))
    for name in SYSTEMS:
        env = gym.make(f"envs:{name}", disable_env_checker=True).unwrapped
        assert isinstance(env, SystemEnv)
        alone = single(env)
        together = {n: batched(env, n) for n in LANES}
        figures = "".join(f" {rate / 1e6:.2f} M/s |" for rate in together.values())
        print(
            f"| {name} | {env.system.lane.itemsize} | {alone / 1e3:.0f} k/s |{figures} {together[1024] / alone:.0f} |"
        )
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of the whole run: {peak_mib:.0f} MiB.")


if __name__ == "__main__":
    main()
