"""Laws of the job queue, and its equality with a plain reference that keeps lists and adds up at the end."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.jobs import arrival_periods, make_arrivals
from models import job_order, queue, queue_view
from models.queue import QueueRules

LAW = settings(deadline=None, max_examples=100)


class Job(NamedTuple):
    arrival: int
    power_kw: float
    duration: int
    deadline: int
    latest_start: int
    priority: int
    penalty: float


def table(jobs, periods):
    jobs = sorted(jobs, key=lambda job: job.arrival)
    arrival, power_kw, duration, deadline, latest, priority, penalty = zip(*jobs, strict=True) if jobs else [()] * 7
    return make_arrivals(
        periods,
        arrival,
        power_kw=power_kw,
        duration_periods=duration,
        deadline_period=deadline,
        latest_start_period=latest,
        priority=priority,
        sla_penalty_gbp_per_h=penalty,
    )


@st.composite
def tables(draw, least_slack=-2):
    """Job tables with whole kW, so that every sum is exact."""
    periods = draw(st.integers(1, 10))
    jobs = []
    for _ in range(draw(st.integers(0, 30))):
        arrival, duration = draw(st.integers(0, periods - 1)), draw(st.integers(1, 6))
        deadline = arrival + duration + draw(st.integers(least_slack, 6))
        latest = arrival + draw(st.integers(0, 8))
        power_kw, priority = float(draw(st.integers(1, 50))), draw(st.integers(0, 3))
        jobs.append(Job(arrival, power_kw, duration, deadline, latest, priority, float(draw(st.integers(0, 5)))))
    return table(jobs, periods)


RULES = st.builds(
    QueueRules,
    st.integers(50, 150).map(float),
    st.integers(1, 6),
    st.booleans(),
    st.sampled_from([6, 9, 64]),
    st.just(0.5),
    st.sampled_from([0.0, 1.0]),  # of jobs that draw 1 kW or more
)
KW = st.integers(0, 160).map(float) | st.sampled_from([math.nan, math.inf, -1.0])
DECISIONS = st.lists(KW | st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=12)


def one_lane(rules, jobs, t=0):
    lane = queue.new_queues(rules, jobs, 1)[0]
    queue.reset(jobs, lane, t)
    return lane


def decide(rules, jobs, lane, t, limit_kw, decision):
    if isinstance(decision, list):
        return queue.start_slots(rules, lane, t, limit_kw, np.array(decision[: rules.visible_slots]))
    return queue.release(rules, lane, t, limit_kw, decision)


def visible(rules, lane):
    return [job_order.row(order) for order in queue_view.in_order(lane)["order"][: rules.visible_slots]]


class Reference:
    """The same queue with lists and no memory of what was promised: it looks at every job again each time."""

    def __init__(self, rules, jobs):
        self.rules, self.rows = rules, jobs.rows
        self.arrival = arrival_periods(jobs)
        self.ordered, self.unsorted, self.start = [], [], {}

    def due(self, j):
        on_time = self.rows["deadline_period"][j] - self.rows["duration_periods"][j]
        return min(self.rows["latest_start_period"][j], on_time)

    def running(self, t):
        return [j for j, s in self.start.items() if s <= t < s + self.rows["duration_periods"][j]]

    def power_kw(self, t):
        return sum(self.rows["power_kw"][j] for j in self.running(t))

    def try_start(self, j, t, limit_kw):
        if self.power_kw(t) + self.rows["power_kw"][j] > limit_kw:
            return False
        self.start[j] = t
        self.ordered.remove(j)
        return True

    def blocked(self, t, limit_kw):
        first = self.ordered[0] if self.ordered and self.rules.force_due else None
        return first is not None and self.due(first) <= t and self.power_kw(t) + self.rows["power_kw"][first] > limit_kw

    def limit(self, limit_kw):
        return min(limit_kw, self.rules.capacity_kw) if limit_kw > 0.0 else -1.0

    def begin(self, t, limit_kw):
        self.unsorted += [j for j in range(len(self.arrival)) if self.arrival[j] == t]
        take = self.rules.room - len(self.ordered)
        self.ordered, self.unsorted = self.ordered + self.unsorted[:take], self.unsorted[take:]
        self.ordered.sort(key=lambda j: (self.due(j), -self.rows["priority"][j], j))
        if self.rules.force_due:
            for j in [j for j in self.ordered if self.due(j) <= t]:
                if not self.try_start(j, t, self.limit(limit_kw)):
                    break

    def decide(self, t, limit_kw, decision):
        limit_kw = self.limit(limit_kw)
        if self.blocked(t, limit_kw):
            return
        if isinstance(decision, list):
            chosen = [
                j for j, wanted in zip(self.ordered[: self.rules.visible_slots], decision, strict=False) if wanted
            ]
        else:
            limit_kw = min(limit_kw, decision) if decision == decision else -1.0
            chosen = list(self.ordered)
        for j in chosen:
            self.try_start(j, t, limit_kw)

    def sla_gbp(self, now):
        """Lateness of started jobs by their end, of waiting ones by the earliest end that is left."""
        starts = self.start | dict.fromkeys(self.ordered, now)
        ends = {j: s + self.rows["duration_periods"][j] for j, s in starts.items()}
        late_h = {j: max(end - self.rows["deadline_period"][j], 0) * 0.5 for j, end in ends.items()}
        return sum(self.rows["sla_penalty_gbp_per_h"][j] * h for j, h in late_h.items())


@LAW
@given(RULES, tables(), DECISIONS, st.lists(KW, min_size=1, max_size=8))
def test_the_kernel_equals_the_reference(rules, jobs, decisions, limits_kw):
    lane, reference = one_lane(rules, jobs), Reference(rules, jobs)
    sla_gbp, steps = 0.0, len(jobs.first_job) + 8
    for t in range(steps):
        limit_kw, decision = limits_kw[t % len(limits_kw)], decisions[t % len(decisions)]
        sla_gbp += queue.begin_period(rules, jobs, lane, t, limit_kw)
        reference.begin(t, limit_kw)
        assert visible(rules, lane) == reference.ordered[: rules.visible_slots]
        decide(rules, jobs, lane, t, limit_kw, decision)
        reference.decide(t, limit_kw, decision)
        hidden = reference.ordered[rules.visible_slots :] + reference.unsorted
        kwh = sum(jobs.rows["power_kw"][j] * jobs.rows["duration_periods"][j] * 0.5 for j in hidden)
        assert queue_view.overflow(rules, jobs, lane, t) == (len(hidden), kwh)
        arrived = int((reference.arrival <= t).sum())
        waiting = len(reference.ordered) + len(reference.unsorted)
        assert queue_view.tally(jobs, lane, t) == (arrived, waiting, len(reference.start))
        kept, rows = queue_view.in_order(lane), jobs.rows[reference.ordered]
        assert list(kept["power_kw"]) == list(rows["power_kw"])
        kw, kwh = rows["power_kw"], rows["power_kw"] @ rows["duration_periods"] * 0.5
        assert (lane["waiting_kw"], lane["waiting_kwh"]) == (kw.sum(), kwh)
        power_kw, late_gbp = queue.end_period(rules, jobs, lane, t)
        sla_gbp += late_gbp
        assert power_kw == reference.power_kw(t)
        assert sla_gbp == reference.sla_gbp(t + 1)


@LAW
@given(RULES, tables(), DECISIONS, st.lists(KW, min_size=1, max_size=8))
def test_no_start_takes_power_past_the_limit_or_the_capacity(rules, jobs, decisions, limits_kw):
    lane = one_lane(rules, jobs)
    for t in range(len(jobs.first_job) + 8):
        limit_kw = limits_kw[t % len(limits_kw)]
        promised_kw = queue.running_kw(lane, t)
        queue.begin_period(rules, jobs, lane, t, limit_kw)
        decide(rules, jobs, lane, t, limit_kw, decisions[t % len(decisions)])
        allowed_kw = min(limit_kw, rules.capacity_kw) if limit_kw > 0.0 else 0.0
        assert queue.running_kw(lane, t) <= max(promised_kw, allowed_kw)
        queue.end_period(rules, jobs, lane, t)


@LAW
@given(RULES, tables(), DECISIONS)
def test_no_job_is_lost_and_energy_is_conserved(rules, jobs, decisions):
    """Every job ends when due jobs are forced, and the energy drawn is that of the table."""
    rules, lane, drawn_kwh = rules._replace(force_due=True), one_lane(rules, jobs), 0.0
    for t in range(len(jobs.first_job) + 20 + int(jobs.rows["duration_periods"].sum())):
        queue.begin_period(rules, jobs, lane, t, math.inf)
        decide(rules, jobs, lane, t, math.inf, decisions[t % len(decisions)])
        arrived, waiting, started = queue_view.tally(jobs, lane, t)
        assert arrived == waiting + started
        drawn_kwh += queue.end_period(rules, jobs, lane, t)[0] * 0.5
    assert (arrived, waiting, started) == (len(jobs.rows), 0, len(jobs.rows))
    assert not lane["running_kw"].any()
    assert drawn_kwh == (jobs.rows["power_kw"] * jobs.rows["duration_periods"] * 0.5).sum()


@LAW
@given(tables(least_slack=0))
def test_with_power_to_spare_forced_starts_are_never_late(jobs):
    """An agent that starts nothing pays nothing: due jobs start in their due period."""
    rules, lane, sla_gbp = QueueRules(1e6), one_lane(QueueRules(1e6), jobs), 0.0
    for t in range(len(jobs.first_job) + 20):
        sla_gbp += queue.begin_period(rules, jobs, lane, t, math.inf)
        sla_gbp += queue.end_period(rules, jobs, lane, t)[1]
    assert sla_gbp == 0.0
    assert queue_view.tally(jobs, lane, t)[1] == 0


@LAW
@given(tables(), st.integers(0, 12))
def test_the_price_of_lateness_is_paid_exactly_once(jobs, release_at):
    """Hold every job until one period, then start all: what was paid is penalty x hours late, however it accrued."""
    rules = QueueRules(1e6, 16, force_due=False)
    lane, paid_gbp = one_lane(rules, jobs), 0.0
    for t in range(len(jobs.first_job) + 20):
        paid_gbp += queue.begin_period(rules, jobs, lane, t, math.inf)
        if t >= release_at:
            queue.release(rules, lane, t, math.inf, math.inf)
        paid_gbp += queue.end_period(rules, jobs, lane, t)[1]
    ends = np.maximum(arrival_periods(jobs), release_at) + jobs.rows["duration_periods"]
    assert (
        paid_gbp
        == (jobs.rows["sla_penalty_gbp_per_h"] * np.maximum(ends - jobs.rows["deadline_period"], 0) * 0.5).sum()
    )


@LAW
@given(RULES, tables(), DECISIONS, KW)
def test_the_mask_says_exactly_which_slot_starts(rules, jobs, decisions, limit_kw):
    lane, mask = one_lane(rules, jobs), np.zeros(rules.visible_slots, np.bool_)
    for t in range(len(jobs.first_job)):
        queue.begin_period(rules, jobs, lane, t, limit_kw)
        queue.feasible_start_mask(rules, lane, t, limit_kw, mask)
        for k in range(rules.visible_slots):
            twin, only_k = lane.copy(), np.arange(rules.visible_slots) == k
            started_kw = queue.start_slots(rules, twin, t, limit_kw, only_k)
            assert (started_kw > 0.0) == mask[k]
            assert twin["n_started"] - lane["n_started"] == mask[k]
        decide(rules, jobs, lane, t, limit_kw, decisions[t % len(decisions)])
        queue.end_period(rules, jobs, lane, t)


@LAW
@given(RULES, tables(), KW, KW)
def test_a_release_stays_within_what_is_releasable_and_wanted(rules, jobs, limit_kw, budget_kw):
    lane = one_lane(rules, jobs)
    for t in range(len(jobs.first_job)):
        queue.begin_period(rules, jobs, lane, t, limit_kw)
        able_kw, before_kw = queue.releasable_kw(rules, lane, t, limit_kw), queue.running_kw(lane, t)
        started_kw = queue.release(rules, lane, t, limit_kw, budget_kw)
        assert 0.0 <= started_kw <= able_kw <= queue.headroom_kw(rules, lane, t, limit_kw) + started_kw
        assert queue.running_kw(lane, t) == before_kw + started_kw
        assert started_kw == 0.0 or before_kw + started_kw <= budget_kw
        queue.end_period(rules, jobs, lane, t)


@LAW
@given(RULES, tables(), DECISIONS)
def test_lanes_do_not_touch_each_other(rules, jobs, decisions):
    lanes = queue.new_queues(rules, jobs, 2)
    alone = one_lane(rules, jobs)
    for i in range(2):
        queue.reset(jobs, lanes[i], 0)
    for t in range(len(jobs.first_job) + 3):
        for i, decision in ((1, math.nan), (0, decisions[t % len(decisions)])):
            queue.begin_period(rules, jobs, lanes[i], t, math.inf)
            decide(rules, jobs, lanes[i], t, math.inf, decision)
        queue.begin_period(rules, jobs, alone, t, math.inf)
        decide(rules, jobs, alone, t, math.inf, decisions[t % len(decisions)])
        ends = [queue.end_period(rules, jobs, lanes[i], t) for i in range(2)]
        assert ends[0] == queue.end_period(rules, jobs, alone, t)
        assert lanes[0].tobytes() == alone.tobytes()


@LAW
@given(RULES, tables(), st.integers(0, 9))
def test_a_reset_lane_meets_only_the_jobs_from_its_start_on(rules, jobs, start):
    start = min(start, len(jobs.first_job) - 1)
    lane = one_lane(rules, jobs)
    for t in range(4):
        queue.begin_period(rules, jobs, lane, t, math.inf)
        queue.release(rules, lane, t, math.inf, math.inf)
    queue.reset(jobs, lane, start)
    queue.begin_period(rules._replace(force_due=False), jobs, lane, start, math.inf)
    n_now = int((arrival_periods(jobs) == start).sum())
    assert queue_view.tally(jobs, lane, start) == (n_now, n_now, 0)
    assert not lane["running_kw"].any()


@LAW
@given(
    st.lists(
        st.tuples(st.integers(-9, 9), st.integers(0, job_order.MAX_PRIORITY), st.integers(0, job_order.MAX_ROW)),
        min_size=2,
        max_size=2,
    ),
    st.lists(st.integers(1, job_order.MAX_RUN_PERIODS), min_size=2, max_size=2),
    st.sampled_from([-job_order.MAX_DUE_PERIOD + 9, 0, job_order.MAX_DUE_PERIOD - 9]),
)
def test_the_number_of_a_job_orders_it_and_tells_what_it_is_made_of(jobs, run_periods, offset):
    jobs = [(due + offset, priority, row) for due, priority, row in jobs]
    orders = [job_order.order(*job, periods) for job, periods in zip(jobs, run_periods, strict=True)]
    for order, job, periods in zip(orders, jobs, run_periods, strict=True):
        parts = job_order.due_period(order), job_order.priority(order), job_order.row(order)
        assert (*parts, job_order.run_periods(order)) == (*job, periods)
    keys = [(due, -priority, row) for due, priority, row in jobs]
    assert (orders[0] < orders[1]) == (keys[0] < keys[1]) or keys[0] == keys[1]


def test_an_empty_queue_does_nothing():
    rules, jobs = QueueRules(100.0), table([], 3)
    lane, mask = one_lane(rules, jobs), np.ones(16, np.bool_)
    for t in range(6):
        assert queue.begin_period(rules, jobs, lane, t, 100.0) == 0.0
        queue.feasible_start_mask(rules, lane, t, 100.0, mask)
        assert not mask.any()
        assert queue.releasable_kw(rules, lane, t, 100.0) == 0.0
        assert queue.release(rules, lane, t, 100.0, 100.0) == 0.0
        assert queue.start_slots(rules, lane, t, 100.0, ~mask) == 0.0
        assert queue.end_period(rules, jobs, lane, t) == (0.0, 0.0)


def test_a_due_job_that_does_not_fit_keeps_smaller_ones_from_passing_it():
    blocker, big = Job(0, 60.0, 2, 9, 0, 0, 1.0), Job(1, 80.0, 1, 9, 1, 0, 1.0)
    small = Job(1, 10.0, 1, 20, 19, 9, 1.0)
    jobs, rules = table([blocker, big, small], 3), QueueRules(100.0)
    lane = one_lane(rules, jobs)
    queue.begin_period(rules, jobs, lane, 0, 100.0)
    queue.end_period(rules, jobs, lane, 0)
    queue.begin_period(rules, jobs, lane, 1, 100.0)
    assert queue.releasable_kw(rules, lane, 1, 100.0) == 0.0
    assert queue.release(rules, lane, 1, 100.0, 100.0) == 0.0
    queue.end_period(rules, jobs, lane, 1)
    queue.begin_period(rules, jobs, lane, 2, 100.0)
    assert queue.running_kw(lane, 2) == 80.0
    free = rules._replace(force_due=False)
    lane = one_lane(free, jobs, t=1)
    queue.begin_period(free, jobs, lane, 1, 70.0)
    assert queue.release(free, lane, 1, 70.0, 70.0) == 10.0


def test_a_due_job_that_fills_the_limit_exactly_starts():
    rules, jobs = QueueRules(100.0), table([Job(0, 100.0, 1, 1, 0, 0, 1.0)], 1)
    lane = one_lane(rules, jobs)
    queue.begin_period(rules, jobs, lane, 0, 100.0)
    assert queue.end_period(rules, jobs, lane, 0) == (100.0, 0.0)


@pytest.mark.parametrize(
    ("job", "hint"),
    [
        (Job(0, 9696.0, 1, 9, 9, 0, 1.0), "check that it is in kW"),
        (Job(0, math.nan, 1, 9, 9, 0, 1.0), "above 0"),
        (Job(0, 0.0, 1, 9, 9, 0, 1.0), "above 0"),
        (Job(0, 5.0, 0, 9, 9, 0, 1.0), "1 to 96 is allowed"),
        (Job(0, 5.0, 97, 99, 99, 0, 1.0), "split the job"),
        (Job(0, 5.0, 1, 9, 9, 128, 1.0), "priority .* 0 to 127 is allowed"),
        (Job(0, 5.0, 1, 9, 9, -1, 1.0), "priority .* 0 to 127 is allowed"),
        (Job(0, 5.0, 1, 2**30, 2**30, 0, 1.0), "due_period .* is allowed"),
    ],
)
def test_a_job_that_can_never_run_is_refused_at_the_edge(job, hint):
    with pytest.raises(ValueError, match=hint):
        queue.new_queues(QueueRules(600.0), table([job], 1), 1)


@pytest.mark.parametrize(
    ("rules", "lanes"),
    [
        (QueueRules(10.0, visible_slots=0), 1),
        (QueueRules(10.0, visible_slots=8, room=7), 1),
        (QueueRules(10.0, room=queue.MAX_ROOM + 1), 1),
        (QueueRules(math.nan), 1),
        (QueueRules(10.0), 0),
    ],
)
def test_a_queue_without_room_or_power_is_refused(rules, lanes):
    with pytest.raises(ValueError, match="must be"):
        queue.new_queues(rules, table([], 1), lanes)
