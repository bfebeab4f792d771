"""PPO end to end, native lanes against Stable-Baselines3's defaults: `python -m benchmarks.training`.

Same battery, same network, same machine, one torch thread, in turn. The rival is what a newcomer would write:
sixteen Gymnasium environments in a DummyVecEnv with the library's default rollout, minibatch and epochs.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.lanes_vec_env import LanesVecEnv
from envs.battery import BatterySystem
from envs.choices import Choices
from envs.scenario import default_scenario
from envs.single import SystemEnv

ROUNDS = 3
SECONDS = 8.0


def rate(env: VecEnv, **settings: int) -> float:
    """Trained env-steps a second over about `SECONDS`, after one warm-up rollout."""
    model = PPO("MlpPolicy", env, policy_kwargs={"net_arch": [64, 64]}, device="cpu", seed=0, **settings)
    rollout = model.n_steps * env.num_envs
    model.learn(rollout)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        model.learn(rollout, reset_num_timesteps=False)
        done += rollout
    return done / (time.perf_counter() - began)


def main() -> None:
    torch.set_num_threads(1)
    system = BatterySystem(default_scenario())
    native, default = [], []
    for _ in range(ROUNDS):
        default.append(rate(DummyVecEnv([lambda: SystemEnv(system)] * 16), n_steps=128))
        lanes = LanesVecEnv(system, 1024, Choices(system.action_fields, 3))
        native.append(rate(lanes, n_steps=16, batch_size=4096, n_epochs=4))
    print("| trainer | trained env-steps/s, each round | median |\n|---|---|---|")
    for name, rates in (
        ("SB3 defaults, 16 environments in DummyVecEnv (2048 / 64 / 10)", default),
        ("SB3 on 1024 native lanes (16384 / 4096 / 4)", native),
    ):
        print(f"| {name} | {', '.join(f'{r:,.0f}' for r in rates)} | {statistics.median(rates):,.0f} |")
    ratios = [a / b for a, b in zip(native, default, strict=True)]
    print(f"\nNative over default, round by round: {', '.join(f'{r:.1f}' for r in ratios)}.")


if __name__ == "__main__":
    main()
