"""Where jobs come from: a seeded generator with the rhythm of real clusters, or the trace of one."""

from datetime import datetime
from math import erf, log, sqrt
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.calendar import LOCAL_TIME_ZONE, PERIOD
from data.jobs import WORKLOAD_TYPES, Arrivals, checked_start, make_arrivals
from data.schema import PERIOD_H, PERIOD_MINUTES, PERIODS_PER_DAY


class Workload(NamedTuple):
    """One kind of job in the generator; sizes are GPUs of a 984-GPU cluster, in whole 8-GPU servers.

    Kinds stand in the order of `data.jobs.WORKLOAD_TYPES`.
    """

    name: str
    share: float
    median_h: float
    log_sd: float
    gpus: tuple[int, ...]
    gpu_shares: tuple[float, ...]
    mean_slack_h: float


# Jobs shorter than one period are 40 to 70 % of the traces' jobs and under 1 % of their GPU-hours: not simulated.
# Medians span the traces' jobs of a period or more: 1.2 h (Philly 2017, Alibaba 2023), 1.8 h (Alibaba PAI 2020), and
# 6.6 to 7.9 h for Philly jobs of 8 GPUs or more. Log-sd of the same jobs: 1.0 (PAI), 1.35 (Philly, Alibaba 2023).
# GPU counts are larger than in those traces, as in the LLM clusters of Acme (mean 6 to 27 GPUs a job).
# Shares and slack are assumptions: no public trace states deadlines.
WORKLOADS: Final = (
    Workload("training", 0.15, 5.0, 1.0, (16, 32, 64, 128), (0.40, 0.35, 0.20, 0.05), 12.0),
    Workload("fine_tuning", 0.30, 2.0, 1.0, (8, 16, 32), (0.50, 0.35, 0.15), 8.0),
    Workload("batch_inference", 0.40, 1.2, 1.0, (8, 16, 32), (0.50, 0.35, 0.15), 6.0),
    Workload("evaluation", 0.15, 0.5, 0.8, (8, 16), (0.80, 0.20), 2.0),
)
REFERENCE_GPUS: Final = 984
CAPACITY_KW: Final = 596.304  # 984 GPUs x 606 W, the default cluster with every GPU busy
MAX_DURATION_PERIODS: Final = PERIODS_PER_DAY  # 2 to 8 % of the traces' jobs run for longer; they are cut
DAILY_AMPLITUDE: Final = 0.46  # first daily harmonic of Alibaba 2023 (Philly: 0.29)
PEAK_HOUR: Final = 15.0  # local; an assumption, the traces' clocks are anonymous
WEEKEND_FRACTION: Final = 0.5  # arrivals of a weekend day over a weekday: Philly 0.50, Alibaba 2023 0.49
DAY_SHAPE: Final = 11.0  # gamma shape of a day's level, 1 / cv^2 with cv 0.30: PAI 0.24, Alibaba 2023 0.42
PERIOD_SHAPE: Final = 4.2  # gamma shape of a period's level within its day: PAI 4.2, Alibaba 2023 7, Philly 0.5
URGENT_SHARE: Final = 0.15  # jobs without slack, with the priorities 6 to 9; the others get 1 to 5 (assumption)
MAX_SLACK_H: Final = 48.0
DEFERRAL_PER_SLACK: Final = (0.75, 1.0, 1.25)  # the owner's limit on waiting, over the slack to the deadline
CONTEXT_TOKEN_COST: Final = 0.25  # of a generated token's: a prompt is read in one pass (assumption; no trace says)
REQUEST_PRIORITY: Final = 9
SLA_GBP_PER_KWH_PRIORITY: Final = 0.05  # at priority 5 about a tenth of 1.5 GBP rent of a 0.6 kW GPU-hour (assumption)


class ExpectedJobs(NamedTuple):
    """What the generator draws on average: all that a planner may know of jobs that have not arrived.

    Means over jobs are weighted by power.

    Attributes:
        arriving_kw: Mean power of the jobs that arrive in a period; times `weekly_rhythm` that of a certain hour.
        still_running: Share of started power that runs for more than 0, 1, ... periods, (MAX_DURATION_PERIODS,).
        urgent_share: Share that is due on arrival.
        slack_h: Mean slack of the others.
        job_kw: Mean power of a job.
        day_sd: Standard deviation of a day's level over its mean.
    """

    arriving_kw: float
    still_running: NDArray[np.float64]
    urgent_share: float
    slack_h: float
    job_kw: float
    day_sd: float


class JobSource(NamedTuple):
    """Where the jobs of a site come from.

    Attributes:
        seed: Seed of every draw.
        load_fraction: Mean of the running jobs' power over the cluster's if each started at once.
        trace: File that `load_trace` replays, or `load_requests` if it holds tokens; without one
            `generate_arrivals` draws the jobs.
    """

    seed: int = 0
    load_fraction: float = 0.55
    trace: str | None = None

    def arrivals(self, start: datetime, periods: int, capacity_kw: float) -> Arrivals:
        """The table of `periods` half-hours from `start` for a cluster of `capacity_kw`."""
        if self.trace is None:
            return generate_arrivals(start, periods, self.seed, capacity_kw, self.load_fraction)
        load = load_requests if "generated_tokens" in pq.read_schema(self.trace).names else load_trace
        return load(self.trace, start, periods, self.seed, capacity_kw, self.load_fraction)


def generate_arrivals(
    start: datetime, periods: int, seed: int, capacity_kw: float = CAPACITY_KW, load_fraction: float = 0.55
) -> Arrivals:
    """Draw jobs with the daily and weekly cycle, the bursts and the heavy tails of `WORKLOADS` and the constants above.

    Arrivals are Poisson with a gamma level per day and per period (overdispersed); run times lognormal, rounded up and
    cut at a day. A job's power is its share of the reference cluster times `capacity_kw`, so a larger site gets larger
    jobs. A longer table with the same seed and start begins with the shorter one.

    Args:
        start: First half-hour, UTC.
        periods: Half-hours to fill.
        seed: Seed of every draw.
        capacity_kw: Power of all jobs the cluster can run at once.
        load_fraction: Mean of the running jobs' power over `capacity_kw` if each started at once.

    Raises:
        ValueError: `start` is not a half-hour in UTC, or a number is outside its range.
    """
    start = checked_start(start, periods)
    _check_load(capacity_kw, load_fraction)
    day_rng, level_rng, count_rng, type_rng, size_rng, time_rng, terms_rng = np.random.default_rng(seed).spawn(7)
    local = pd.date_range(start, periods=periods, freq=PERIOD).tz_convert(LOCAL_TIME_ZONE)
    day = (local.tz_localize(None).normalize() - local[0].tz_localize(None).normalize()).days.to_numpy()
    level = day_rng.gamma(DAY_SHAPE, 1.0 / DAY_SHAPE, day[-1] + 1)[day]
    level *= level_rng.gamma(PERIOD_SHAPE, 1.0 / PERIOD_SHAPE, periods)
    gpu_periods = sum(w.share * np.dot(w.gpus, w.gpu_shares) * _still_running(w).sum() for w in WORKLOADS)
    expected = load_fraction * REFERENCE_GPUS / gpu_periods * _rhythm(local)
    arrival = np.repeat(np.arange(periods), count_rng.poisson(expected * level))

    kind = _choose(type_rng.random(len(arrival)), [w.share for w in WORKLOADS])
    size, spread = size_rng.random(len(arrival)), time_rng.standard_normal(len(arrival))
    gpus = np.zeros(len(arrival))
    for k, w in enumerate(WORKLOADS):
        gpus[kind == k] = np.array(w.gpus)[_choose(size[kind == k], w.gpu_shares)]
    median_h, log_sd = np.array([w.median_h for w in WORKLOADS]), np.array([w.log_sd for w in WORKLOADS])
    run_h = median_h[kind] * np.exp(log_sd[kind] * spread)
    return _with_terms(terms_rng, periods, arrival, gpus / REFERENCE_GPUS * capacity_kw, run_h, kind)


def _rhythm(local: pd.DatetimeIndex) -> NDArray[np.float64]:
    """`weekly_rhythm` at local times, shape (n,)."""
    return weekly_rhythm((local.hour + local.minute / 60.0).to_numpy(), local.day_of_week >= 5)


def weekly_rhythm(hour: NDArray[np.float64], weekend: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Expected arrivals over their weekly mean, by local hour and whether it is a weekend day."""
    week_shape = np.where(weekend, WEEKEND_FRACTION, 1.0) / ((5.0 + 2.0 * WEEKEND_FRACTION) / 7.0)
    return week_shape * (1.0 + DAILY_AMPLITUDE * np.cos(2.0 * np.pi * (hour - PEAK_HOUR) / 24.0))


def expected_jobs(capacity_kw: float, load_fraction: float) -> ExpectedJobs:
    """Means of `generate_arrivals` for a cluster of `capacity_kw` under `load_fraction`."""
    gpus = np.array([w.share * np.dot(w.gpus, w.gpu_shares) for w in WORKLOADS])
    squares = sum(w.share * np.dot(np.square(w.gpus), w.gpu_shares) for w in WORKLOADS)
    weight = gpus / gpus.sum()
    still_running = weight @ np.array([_still_running(w) for w in WORKLOADS])
    return ExpectedJobs(
        arriving_kw=load_fraction * capacity_kw / still_running.sum(),
        still_running=still_running,
        urgent_share=URGENT_SHARE,
        slack_h=float(weight @ np.array([w.mean_slack_h for w in WORKLOADS])),
        job_kw=capacity_kw / REFERENCE_GPUS * float(squares / gpus.sum()),
        day_sd=DAY_SHAPE**-0.5,
    )


def load_requests(
    path: str | Path,
    start: datetime,
    periods: int,
    seed: int,
    capacity_kw: float = CAPACITY_KW,
    load_fraction: float = 0.55,
) -> Arrivals:
    """Serve a trace of language-model requests: load that cannot wait, as jobs of one half-hour.

    The file has `arrival_time_s`, `service`, `context_tokens` and `generated_tokens`. A request costs its generated
    tokens and, `CONTEXT_TOKEN_COST` each, those of its context. Public traces are too short for a day, so every
    half-hour is made of 30 minutes drawn from the trace's whole ones, services together, and follows the generator's
    daily and weekly rhythm. A longer table with the same seed and start begins with the shorter one.

    Power is proportional to cost and set so that the mean load is `load_fraction` of `capacity_kw`. The load of a
    service comes in equal jobs of a quarter of the capacity at most, all due when their half-hour ends.

    Raises:
        ValueError: A column is missing, the trace is shorter than two minutes, or an argument is outside its range.
    """
    start = checked_start(start, periods)
    _check_load(capacity_kw, load_fraction)
    trace = pd.read_parquet(path)
    missing = {"arrival_time_s", "service", "context_tokens", "generated_tokens"} - set(trace)
    if missing:
        raise ValueError(f"{path} lacks {sorted(missing)}; it has {list(trace)}")
    minute = (trace["arrival_time_s"] // 60.0).astype(np.int64)
    whole = minute[minute < minute.max()]
    if len(whole) == 0:
        raise ValueError(f"{path} spans less than two minutes; at least one whole minute is needed")
    cost = trace["generated_tokens"] + CONTEXT_TOKEN_COST * trace["context_tokens"]
    by_minute = pd.crosstab(minute, trace["service"].astype(str), cost, aggfunc="sum")
    costs = by_minute.reindex(range(whole.min(), minute.max())).fillna(0.0).to_numpy(np.float64)  # (minutes, services)
    drawn = np.random.default_rng(seed).integers(len(costs), size=(periods, PERIOD_MINUTES))
    local = pd.date_range(start, periods=periods, freq=PERIOD).tz_convert(LOCAL_TIME_ZONE)
    level = _rhythm(local) * load_fraction * capacity_kw / (costs.sum(axis=1).mean() * PERIOD_MINUTES)
    service_kw = (costs[drawn].sum(axis=1) * level[:, None]).ravel()  # (periods x services,)
    pieces = np.ceil(service_kw / (0.25 * capacity_kw)).astype(np.int64)
    arrival = np.repeat(np.repeat(np.arange(periods), costs.shape[1]), pieces)
    power_kw = np.repeat(service_kw / np.maximum(pieces, 1), pieces)
    return make_arrivals(
        periods,
        arrival,
        power_kw=power_kw,
        duration_periods=1,
        deadline_period=arrival + 1,
        latest_start_period=arrival,
        priority=REQUEST_PRIORITY,
        sla_penalty_gbp_per_h=SLA_GBP_PER_KWH_PRIORITY * REQUEST_PRIORITY * power_kw,
        workload_type=WORKLOAD_TYPES.index("other"),
    )


def load_trace(
    path: str | Path,
    start: datetime,
    periods: int,
    seed: int,
    capacity_kw: float = CAPACITY_KW,
    load_fraction: float = 0.55,
) -> Arrivals:
    """Replay a cluster trace, scaled to the site and repeated to fill `periods`.

    The file has `submit_time_s`, `duration_s` and `num_gpus` (or `num_cpus`, read as if GPUs), optionally
    `gpu_milli_per_gpu` (share of each GPU) and `submit_time_local`. Rows that never ran or hold no GPU are left out.
    The whole weeks around the middle 98 % of submissions are kept and repeated. Day of week and hour follow
    `submit_time_local`; without it the clock is unknown and the first record counts as Monday 00:00.

    Power is GPUs times one wattage, set so that the mean load is `load_fraction` of `capacity_kw`; a job gets a quarter
    of the capacity at most. Traces state no terms: the kind follows the run time (under 1 h evaluation, under 4 h
    fine-tuning, else training), deadline, priority and penalty the seeded rule of the generator.

    Raises:
        ValueError: A column is missing, the trace is shorter than a week, or an argument is outside its range.
    """
    start = checked_start(start, periods)
    _check_load(capacity_kw, load_fraction)
    trace = pd.read_parquet(path)
    gpu_column = "num_gpus" if "num_gpus" in trace else "num_cpus"
    missing = {"submit_time_s", "duration_s", gpu_column} - set(trace)
    if missing:
        raise ValueError(f"{path} lacks {sorted(missing)}; it has {list(trace)}")
    gpus_all = trace[gpu_column] * (trace["gpu_milli_per_gpu"] / 1000.0 if "gpu_milli_per_gpu" in trace else 1.0)
    trace = trace.assign(gpus=gpus_all)[(trace["duration_s"] > 0.0) & (gpus_all > 0.0)].sort_values("submit_time_s")
    second = trace["submit_time_s"].to_numpy(np.float64)
    if "submit_time_local" in trace and len(trace):
        first = trace["submit_time_local"].iloc[0]
        second = (
            second - second[0] + (first - (first.normalize() - pd.Timedelta(days=first.day_of_week))).total_seconds()
        )
    week = 7 * PERIODS_PER_DAY
    period = (second // (3600.0 * PERIOD_H)).astype(np.int64)
    low, high = (np.quantile(period, (0.01, 0.99)) // week * week).astype(np.int64) if len(period) else (0, 0)
    if high <= low:
        raise ValueError(f"{path} spans less than a week; a trace of at least two calendar weeks is needed")
    kept = (period >= low) & (period < high)
    period, run_h = period[kept] - low, trace["duration_s"].to_numpy(np.float64)[kept] / 3600.0
    gpus = trace["gpus"].to_numpy(np.float64)[kept]
    kw_per_gpu = load_fraction * capacity_kw * (high - low) / (gpus * _whole_periods(run_h)).sum()
    power_kw = np.minimum(gpus * kw_per_gpu, 0.25 * capacity_kw)

    into_week = start.weekday() * PERIODS_PER_DAY + int((start.hour + start.minute / 60.0) / PERIOD_H)
    repeats = -(-(periods + into_week) // (high - low))
    arrival = (period + (high - low) * np.arange(repeats)[:, None]).ravel() - into_week
    inside = (arrival >= 0) & (arrival < periods)
    row = np.tile(np.arange(len(period)), repeats)[inside]
    kind = np.array([3, 1, 0])[np.searchsorted([1.0, 4.0], run_h[row], side="right")]
    return _with_terms(np.random.default_rng(seed), periods, arrival[inside], power_kw[row], run_h[row], kind)


def _with_terms(
    rng: np.random.Generator,
    periods: int,
    arrival: NDArray[np.int64],
    power_kw: NDArray[np.float64],
    run_h: NDArray[np.float64],
    kind: NDArray[np.int64],
) -> Arrivals:
    """Add what tenants agree to: slack (none for the urgent, else exponential by kind), deferral, priority, penalty."""
    urgent_rng, slack_rng, deferral_rng, priority_rng = rng.spawn(4)
    n, duration = len(arrival), _whole_periods(run_h)
    urgent = urgent_rng.random(n) < URGENT_SHARE
    mean_slack_h = np.array([w.mean_slack_h for w in WORKLOADS])
    slack_h = np.minimum(mean_slack_h[kind] * slack_rng.standard_exponential(n), MAX_SLACK_H) * ~urgent
    slack = (slack_h / PERIOD_H).astype(np.int32)
    deferral = (slack * np.array(DEFERRAL_PER_SLACK)[_choose(deferral_rng.random(n), (1 / 3, 1 / 3, 1 / 3))]).astype(
        int
    )
    draw = priority_rng.random(n)
    priority = np.where(urgent, 6 + (4.0 * draw).astype(np.int32), 1 + (5.0 * draw).astype(np.int32))
    return make_arrivals(
        periods,
        arrival,
        power_kw=power_kw,
        duration_periods=duration,
        deadline_period=arrival + duration + slack,
        latest_start_period=arrival + deferral,
        priority=priority,
        sla_penalty_gbp_per_h=SLA_GBP_PER_KWH_PRIORITY * priority * power_kw,
        workload_type=kind,
    )


def _whole_periods(run_h: NDArray[np.float64]) -> NDArray[np.int32]:
    """Run time rounded up to half-hours and cut at `MAX_DURATION_PERIODS`."""
    return np.clip(np.ceil(run_h / PERIOD_H), 1, MAX_DURATION_PERIODS).astype(np.int32)


def _still_running(w: Workload) -> NDArray[np.float64]:
    """Share of a kind's jobs that run for more than 0, 1, ... periods, exactly; its sum is their mean run time."""
    median = w.median_h / PERIOD_H
    tails = [0.5 - 0.5 * erf(log(h / median) / (w.log_sd * sqrt(2.0))) for h in range(1, MAX_DURATION_PERIODS)]
    return np.array([1.0, *tails])


def _choose(draws: NDArray[np.float64], shares: list[float] | tuple[float, ...]) -> NDArray[np.int64]:
    """Index drawn with probabilities `shares` from uniform draws in [0, 1)."""
    return np.minimum(np.searchsorted(np.cumsum(shares), draws, side="right"), len(shares) - 1)


def _check_load(capacity_kw: float, load_fraction: float) -> None:
    if not 0.0 < capacity_kw < 1e6:
        raise ValueError(f"capacity_kw is {capacity_kw}; above 0 and below 1000000 is allowed: is it in W?")
    if not 0.0 < load_fraction < 1.0:
        raise ValueError(f"load_fraction is {load_fraction}; above 0 and below 1 is allowed, or the queue only grows")
