"""Public environments beside ours, in one run: `python -m benchmarks.peers`.

Each peer is installed from the package index into a throw-away virtual environment and stepped with random actions,
one environment, one thread, resets included. Ours are stepped the same way, in turn with them. Peers whose data or
solvers must be fetched elsewhere are left out, and a peer that fails to install or run is reported as such.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import gymnasium as gym

from benchmarks.speed import batched, single
from envs import SYSTEMS
from envs.single import SystemEnv

LOOP: Final = """
import time
env.reset(seed=0)
env.action_space.seed(0)
done, began = 0, time.perf_counter()
while time.perf_counter() - began < 5.0:
    _, _, terminated, truncated, _ = env.step(env.action_space.sample())
    done += 1
    if terminated or truncated:
        env.reset()
print("rate", done / (time.perf_counter() - began))
"""


class Peer(NamedTuple):
    """A public environment."""

    requirement: str
    what: str
    setup: str


PEERS: Final = (
    Peer(
        "gym-anm==2.0.1",
        "ANM6Easy: 6-bus AC power flow, storage, renewables",
        "import gymnasium as gym, gym_anm\nenv = gym.make('gym_anm:ANM6Easy-v0')\n",
    ),
    Peer(
        "gym-trading-env==0.3.5",
        "one asset, 10 features, 3 positions; no physics",
        "import numpy as np, pandas as pd, gymnasium as gym, gym_trading_env\n"
        "rng = np.random.default_rng(0)\n"
        "price = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, 20000)))\n"
        "bars = pd.DataFrame(dict.fromkeys(['open', 'high', 'low', 'close'], price),\n"
        "                    index=pd.date_range('2020', periods=20000, freq='h')).assign(volume=1.0)\n"
        "for i in range(10): bars[f'feature_{i}'] = rng.normal(size=20000)\n"
        "env = gym.make('TradingEnv', df=bars, positions=[-1, 0, 1], verbose=0)\n",
    ),
)


def peer_rate(peer: Peer, folder: Path) -> float | str:
    """Steps a second of a peer in an environment of its own, or why there is none."""
    python = folder / "bin" / "python"
    for command in (
        [sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, str(folder)],
        [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), peer.requirement],
    ):
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return "did not install"
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", peer.setup + LOOP], capture_output=True, text=True, check=False, timeout=300
    )
    rates = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("rate ")]
    return float(rates[0]) if rates else f"did not run: {(done.stderr.strip().splitlines() or ['no output'])[-1][:60]}"


def main() -> None:
    print("| environment | what is stepped | steps/s | ours, single Site-v0 / it | ours, 1024 lanes / it |")
    print("|---|---|---|---|---|")
    site = gym.make("envs:gridpilot/Site-v0", disable_env_checker=True).unwrapped
    assert isinstance(site, SystemEnv)
    with tempfile.TemporaryDirectory() as scratch:
        for peer in PEERS:
            rate = peer_rate(peer, Path(scratch) / peer.requirement.split("=")[0])
            if isinstance(rate, str):
                print(f"| {peer.requirement} | {peer.what} | {rate} | | |")
                continue
            alone, lanes = single(site), batched(site, 1024)
            print(f"| {peer.requirement} | {peer.what} | {rate:,.0f} | {alone / rate:,.1f} | {lanes / rate:,.0f} |")
    for name in SYSTEMS:
        env = gym.make(f"envs:{name}", disable_env_checker=True).unwrapped
        assert isinstance(env, SystemEnv)
        print(f"| {name} | ours, single environment | {single(env):,.0f} | | |")


if __name__ == "__main__":
    main()
