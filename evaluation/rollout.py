"""Play a policy through one episode and keep every step."""

import time
from collections.abc import Callable

import pandas as pd

from envs.single import SystemEnv
from evaluation.policy import Policy


def play(env: SystemEnv, policy: Policy, seed: int, progress: Callable[[int], object] | None = None) -> pd.DataFrame:
    """One episode, from reset to its end.

    Args:
        env: The environment; its scenario decides how long the episode is.
        policy: What acts.
        seed: Seeds the episode and the policy.
        progress: Called with 1 after every step.

    Returns:
        One row per decision, indexed by its `timestamp_utc`: `reward_gbp`, one `<term>_gbp` column per money term, the
        system's telemetry, what the policy believed, and `decision_ms`, the time it took.
    """
    observation, _ = env.reset(seed=seed)
    policy.reset(seed)
    times, rows, over = [], [], False
    while not over:
        times.append(env.system.when(env.lanes[0]))
        began = time.perf_counter()
        action = policy.act(observation)
        decision_ms = (time.perf_counter() - began) * 1e3
        believed = policy.believed() if hasattr(policy, "believed") else {}
        observation, reward_gbp, terminated, truncated, info = env.step(action)
        terms = {f"{name}_gbp": value for name, value in info.pop("reward_gbp").items()}
        rows.append({"reward_gbp": reward_gbp, **terms, **info, **believed, "decision_ms": decision_ms})
        over = terminated or truncated
        if progress:
            progress(1)
    return pd.DataFrame(rows, index=pd.DatetimeIndex(times, name="timestamp_utc"))
