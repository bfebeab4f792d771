"""How a step grows with lanes and with visible job slots: `python -m benchmarks.scaling` writes `scaling.png`.

Random actions, one thread, synthetic data. Time is the median processor time of a call, which other programs on the
machine do not lengthen; memory is the peak that NumPy allocates for lanes and one step, beside what they share.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import StrMethodFormatter

from envs.battery import BatterySystem
from envs.fields import box
from envs.job_queue import JobQueueSystem
from envs.scenario import default_scenario
from envs.site import SiteSystem
from envs.system import System
from envs.vector import LaneRunner
from evaluation.drawing import COLOURS, STYLE, WIDE_IN, panels, png

LANES: Final = (1, 4, 16, 64, 256, 1024, 4096)
SLOTS: Final = (16, 32, 64, 128)
SLOT_LANES: Final = 64
ROUNDS: Final = 15
ROUND_S: Final = 0.02
FILE: Final = Path(__file__).with_name("scaling.png")


def step_cost(system: System, n_lanes: int) -> tuple[float, float]:
    """Microseconds of a call that steps `n_lanes` lanes, and MiB that lanes and call take."""
    tracemalloc.start()
    runner = LaneRunner(system, n_lanes)
    runner.reset(list(range(n_lanes)))
    bounds = box(system.action_fields)
    actions = np.random.default_rng(0).uniform(bounds.low, bounds.high, (n_lanes, *bounds.shape)).astype(np.float32)
    runner.step(actions)
    mib = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    calls, rounds = 1, []
    while len(rounds) < ROUNDS:
        began = time.thread_time()
        for _ in range(calls):
            runner.step(actions)
        spent_s = time.thread_time() - began
        if spent_s < ROUND_S:
            calls *= 2
        else:
            rounds.append(spent_s / calls)
    return statistics.median(rounds) * 1e6, mib


def line(axis: mpl.axes.Axes, x: Sequence[int], y: Sequence[float], name: str, colour: str) -> None:
    """Measured points, and dashed what growth in proportion to the last of them would be."""
    axis.plot(x, y, "o-", color=colour, label=name, markersize=3.5)
    axis.plot(x, [y[-1] * each / x[-1] for each in x], "--", color=colour, linewidth=0.8, alpha=0.7)


@mpl.rc_context(STYLE)
def main() -> None:
    scenario = default_scenario()
    systems = {"Battery": BatterySystem(scenario), "JobQueue": JobQueueSystem(scenario), "Site": SiteSystem(scenario)}
    figure, (lane_time, lane_memory, slot_time, slot_memory) = panels(4, WIDE_IN, 2.8)
    for (name, system), colour in zip(systems.items(), COLOURS, strict=False):
        step_cost(system, 1)  # compiles, and makes what lanes share
        costs = [step_cost(system, n) for n in LANES]
        line(lane_time, LANES, [us for us, _ in costs], name, colour)
        line(lane_memory, LANES, [mib for _, mib in costs], name, colour)
        for n, (us, mib) in zip(LANES, costs, strict=True):
            print(f"{name:9} {n:5} lanes {us:9.1f} us a step {us / n * 1e3:8.0f} ns a lane {mib:8.2f} MiB")
    slot_costs = []
    for n in SLOTS:
        queue = JobQueueSystem(scenario, visible_slots=n)
        step_cost(queue, 1)  # makes what lanes share
        slot_costs.append(step_cost(queue, SLOT_LANES))
    slots_us, slots_kib = [us / SLOT_LANES for us, _ in slot_costs], [mib * 1024 / SLOT_LANES for _, mib in slot_costs]
    for n, us, kib in zip(SLOTS, slots_us, slots_kib, strict=True):
        print(f"JobQueue  {n:5} slots {us * 1e3:9.0f} ns a lane-step {kib:6.1f} KiB a lane")

    for axis, each, title, unit in (
        (slot_time, slots_us, "Time by slots", "µs per lane-step"),
        (slot_memory, slots_kib, "Memory by slots", "KiB per lane"),
    ):
        axis.plot(SLOTS, each, "o-", color=COLOURS[1], markersize=3.5)
        axis.set(title=title, xlabel="visible slots of JobQueue", ylabel=unit, xticks=SLOTS)
        axis.set_ylim(0.0, 1.2 * max(each))
    lane_time.set(title="Time by lanes", ylabel="µs per step of all lanes")
    lane_memory.set(title="Memory by lanes", ylabel="MiB")
    lane_time.legend()
    for axis in (lane_time, lane_memory):
        axis.set(xlabel="lanes (dashed: in proportion)", xscale="log", yscale="log", xticks=LANES[::2])
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.minorticks_off()
    for axis in (lane_time, lane_memory, slot_time, slot_memory):
        axis.grid(visible=True)
    png(figure, FILE)
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
