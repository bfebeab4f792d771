"""A GPU cluster: what its processors draw, and how much work is left under a power cap.

Power of the IT hall is the idle floor of every GPU and its share of the server, plus what busy GPUs add to it.
A job's `power_kw` is the whole draw of its GPUs and their share of the server at full load; since the idle floor is
drawn anyway, starting the job raises the hall by less than that. `job_budget_kw` and `busy_gpus` translate both ways.
"""

from math import isfinite
from typing import NamedTuple

from numba import njit

from models.compiling import KERNEL


class Cluster(NamedTuple):
    """Parameters of a cluster; the defaults are A100 servers sized to draw just under 600 kW when all are busy.

    Watts are percentiles of the AcmeTrace power curves (CC BY 4.0): 10 % (idle) and 90 % (loaded) of the mean of two
    clusters per GPU, and of an 8-GPU server; the overhead is the server less its GPUs, divided by 8.
    Percentiles of GPU and server are taken as simultaneous, which the trace does not say.

    Attributes:
        gpus: Number of GPUs.
        idle_w_per_gpu: Draw of a GPU without a job.
        loaded_w_per_gpu: Draw of a GPU with a job and no power cap.
        idle_overhead_w_per_gpu: Share of CPUs, memory, fans and losses when the server idles.
        loaded_overhead_w_per_gpu: The same when the server is busy; a GPU power cap leaves it as it is.
        throughput_exponent: See `throughput_fraction`.
        min_cap_fraction: Lowest GPU power cap as a share of `loaded_w_per_gpu` (100 W of a 400 W A100).
    """

    gpus: float = 984.0
    idle_w_per_gpu: float = 63.0
    loaded_w_per_gpu: float = 399.0
    idle_overhead_w_per_gpu: float = 126.0
    loaded_overhead_w_per_gpu: float = 207.0
    throughput_exponent: float = 0.31
    min_cap_fraction: float = 0.25


def checked(cluster: Cluster) -> Cluster:
    """Return the cluster, or say which parameter is wrong.

    Raises:
        ValueError: A parameter is not finite, negative, or outside its range.
    """
    for name, value in cluster._asdict().items():
        if not isfinite(value) or value < 0.0:
            raise ValueError(f"cluster {name} is {value}; it must be a finite number, 0 or above")
    if not cluster.gpus >= 1.0:
        raise ValueError(f"cluster has {cluster.gpus} gpus; it must have at least 1")
    for idle, loaded in (
        ("idle_w_per_gpu", "loaded_w_per_gpu"),
        ("idle_overhead_w_per_gpu", "loaded_overhead_w_per_gpu"),
    ):
        low_w, high_w = getattr(cluster, idle), getattr(cluster, loaded)
        if low_w > high_w:
            raise ValueError(f"cluster {idle} is {low_w} W, above {loaded} of {high_w} W; a busy GPU draws no less")
    if not 10.0 <= cluster.loaded_w_per_gpu <= 10_000.0:
        raise ValueError(
            f"cluster loaded_w_per_gpu is {cluster.loaded_w_per_gpu}; "
            "10 to 10000 is allowed: give watts per GPU, not kilowatts or a whole rack"
        )
    for name in ("throughput_exponent", "min_cap_fraction"):
        if not 0.0 < getattr(cluster, name) <= 1.0:
            raise ValueError(f"cluster {name} is {getattr(cluster, name)}; it must be above 0 and at most 1")
    return cluster


@njit(**KERNEL)
def idle_kw_per_gpu(c: Cluster) -> float:
    """Draw of one idle GPU with its share of the server."""
    return (c.idle_w_per_gpu + c.idle_overhead_w_per_gpu) / 1000.0


@njit(**KERNEL)
def job_kw_per_gpu(c: Cluster) -> float:
    """Draw of one busy, uncapped GPU with its share of the server: the unit in which jobs state `power_kw`."""
    return (c.loaded_w_per_gpu + c.loaded_overhead_w_per_gpu) / 1000.0


@njit(**KERNEL)
def job_capacity_kw(c: Cluster) -> float:
    """Highest total `power_kw` of jobs running at once: every GPU busy."""
    return c.gpus * job_kw_per_gpu(c)


@njit(**KERNEL)
def busy_gpus(c: Cluster, job_kw: float) -> float:
    """GPUs taken by running jobs of `job_kw` in all; never more than there are. NaN takes none."""
    return min(job_kw / job_kw_per_gpu(c), c.gpus) if job_kw > 0.0 else 0.0


@njit(**KERNEL)
def _cap(c: Cluster, cap_fraction: float) -> float:
    """The cap the hardware takes: between its lowest setting and no cap; NaN asks for no cap."""
    return min(max(cap_fraction, c.min_cap_fraction), 1.0) if cap_fraction == cap_fraction else 1.0


@njit(**KERNEL)
def throughput_fraction(c: Cluster, cap_fraction: float) -> float:
    """Work per hour of a busy GPU under a power cap, as a share of its uncapped work.

    throughput = power ** throughput_exponent, both as shares of the uncapped value: 1 without a cap, monotone, concave,
    and never below the power share, so a cap always lowers energy per unit of GPU work. An assumption in form; the
    exponent is set by one figure: language-model training on V100 capped from 250 W to 150 W used 13.7 % less energy
    and took 6.8 % longer (McDonald et al., "Great Power, Great Responsibility", Findings of NAACL 2022), so power fell
    to 0.863 / 1.068 = 0.808 and throughput to 1 / 1.068 = 0.936: ln 0.936 / ln 0.808 = 0.31. Inference loses less
    (LLaMA 65B on A100, 250 W to 175 W: -23 % energy, +6.7 % time, so 0.20; Samsi et al., "From Words to Watts", 2023);
    loads bound by arithmetic lose more, up to 1.
    """
    return float(_cap(c, cap_fraction) ** c.throughput_exponent)


@njit(**KERNEL)
def it_power_kw(c: Cluster, busy: float, cap_fraction: float) -> float:
    """Draw of the IT hall with `busy` GPUs at work under a GPU power cap.

    Args:
        c: The cluster.
        busy: GPUs with a job, held between 0 and all of them; NaN counts as none.
        cap_fraction: Cap as a share of `loaded_w_per_gpu`; 1 is no cap. A cap never pushes a GPU below its idle draw.
    """
    at_work = min(max(busy, 0.0), c.gpus) if busy == busy else 0.0
    gpu_kw = max(_cap(c, cap_fraction) * c.loaded_w_per_gpu, c.idle_w_per_gpu) / 1000.0
    busy_kw = gpu_kw + c.loaded_overhead_w_per_gpu / 1000.0
    return at_work * busy_kw + (c.gpus - at_work) * idle_kw_per_gpu(c)


@njit(**KERNEL)
def power_limits_kw(c: Cluster, busy: float) -> tuple[float, float]:
    """Lowest and highest IT power that capping can reach while `busy` GPUs keep their jobs."""
    return it_power_kw(c, busy, c.min_cap_fraction), it_power_kw(c, busy, 1.0)


@njit(**KERNEL)
def job_budget_kw(c: Cluster, it_limit_kw: float) -> float:
    """Highest total `power_kw` of uncapped jobs that keeps the IT hall within `it_limit_kw`; 0 if even idling does not.

    The inverse of `it_power_kw(c, busy_gpus(c, job_kw), 1)`. NaN allows nothing.
    """
    spare_kw = it_limit_kw - c.gpus * idle_kw_per_gpu(c)
    if not spare_kw > 0.0:
        return 0.0
    added_kw_per_gpu = job_kw_per_gpu(c) - idle_kw_per_gpu(c)
    capacity_kw = job_capacity_kw(c)
    if spare_kw >= added_kw_per_gpu * c.gpus:
        return capacity_kw
    return spare_kw / added_kw_per_gpu * job_kw_per_gpu(c)
