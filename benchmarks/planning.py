"""Milliseconds per MPC decision, from observation to action: `python -m benchmarks.planning`."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from baselines.cooling_mpc import CoolingMpcPolicy
from baselines.mpc import MpcPolicy
from baselines.mpc_scenario import ScenarioMpcPolicy
from baselines.queue_mpc import QueueMpcPolicy
from baselines.site_mpc import SiteMpcPolicy
from baselines.site_mpc_scenario import SiteScenarioMpcPolicy
from envs.battery import BatterySystem
from envs.cooling import CoolingSystem
from envs.job_queue import JobQueueSystem
from envs.scenario import default_scenario
from envs.single import SystemEnv
from envs.site import SiteSystem
from evaluation.rollout import play

PLANNED = {
    "battery": (BatterySystem, MpcPolicy),
    "battery, 20 price paths": (BatterySystem, ScenarioMpcPolicy),
    "cooling": (CoolingSystem, CoolingMpcPolicy),
    "job queue, 16 jobs relaxed": (JobQueueSystem, QueueMpcPolicy),
    "whole site": (SiteSystem, SiteMpcPolicy),
    "whole site, 20 paths": (SiteSystem, SiteScenarioMpcPolicy),
}


def main() -> None:
    for name, (system, policy) in PLANNED.items():
        env = SystemEnv(system(default_scenario("validation", "week")))
        trace = play(env, policy.for_env(env), seed=0)["decision_ms"].to_numpy()[1:]  # the first compiles
        median, p99 = np.percentile(trace, [50.0, 99.0])
        print(f"{name} MPC, 48 half-hours, {trace.size} decisions: median {median:.1f} ms, p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
