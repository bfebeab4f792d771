"""Laws of the agents that plan a cluster's jobs, spoken to in JSON as others do."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baselines.greedy import schedule
from baselines.schedule import Weights
from data.calendar import LOCAL_TIME_ZONE
from data.jobs import JobSpec
from data.schedule import CarbonPoint, PricePoint
from data.schema import HALF_HOUR
from data.synthetic import generate
from forecasting.grid_forecast import GridForecaster
from server.caco.agent import Unreachable
from server.caco.answers import FlexibilityProfile, GridForecast, LatestPlan, Plan
from server.caco.commands import (
    JOB,
    MOST_JOBS,
    GetFlexibilityProfile,
    GetGridForecast,
    GetLatestPlan,
    IngestJobs,
    Optimization,
    RunCacoPlanning,
    example_of,
    name_of,
)
from server.caco.compute import ComputeAgent
from server.caco.coordination import CoordinationAgent, Peer
from server.caco.grid import GridAgent
from server.caco.half_hours import begun, coming, touched

DAY = datetime(2025, 11, 24, tzinfo=UTC)
NOW = datetime(2025, 11, 23, 23, 47, tzinfo=UTC)
COMMANDS = (IngestJobs, GetFlexibilityProfile, GetGridForecast, RunCacoPlanning, GetLatestPlan)
LAW = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
CONTRACT = json.loads("""
{"status": "success", "window": {"from": "...", "to": "...", "region": "GB"},
 "scheduled_jobs": [{"job_id": "job-001", "start_time": "2025-11-24T07:00:00Z", "end_time": "2025-11-24T11:00:00Z",
   "power_kw": 1500, "expected_cost_gbp": 145.2, "expected_carbon_kg": 120.5, "is_flexible_offer": true,
   "metadata": {"lateness_hours": 0, "cluster_id": "hpc-1", "priority": 5}}],
 "flex_offers": [{"offer_id": "flex-job-001", "cluster_id": "hpc-1", "power_kw": 1500, "duration_hours": 4,
   "earliest_start": "2025-11-24T07:00:00Z", "latest_end": "2025-11-24T11:00:00Z", "price_gbp_per_mwh": 150,
   "carbon_intensity_cap_g_per_kwh": 90}]}""")


def asked(agent, command, **changes):
    """The answer to a command, given as an object, or as text."""
    text = command if isinstance(command, str) else json.dumps(command | changes)
    answer = asyncio.run(agent.answer(text))
    return json.loads(answer)


def refused(agent, command, **changes):
    answer = asked(agent, command, **changes)
    assert answer["status"] == "error", answer
    assert set(answer) == {"status", "message", "problems"}
    return answer


@pytest.fixture(scope="module")
def forecaster():
    return GridForecaster(generate("2025-08-01", "2026-01-01", seed=5))


class Site:
    """Three agents in one process."""

    def __init__(self, forecaster, now=NOW):
        self.compute = ComputeAgent(12_000.0)
        self.grid = GridAgent(forecaster, lambda: now)
        self.coordination = CoordinationAgent(
            Peer("compute", self.compute.answer), Peer("grid", self.grid.answer), lambda: now
        )


@pytest.fixture
def site(forecaster):
    return Site(forecaster)


@st.composite
def job_lists(draw):
    """Jobs around one day, at any minute."""
    found = []
    for n in range(draw(st.integers(1, 8))):
        minutes = st.integers(-300, 1700)
        arrival = DAY + draw(minutes) * timedelta(minutes=1)
        duration_h = draw(st.integers(1, 600)) / 60.0
        slack = timedelta(minutes=draw(st.integers(0, 900)))
        found.append(
            JobSpec(
                job_id=f"drawn-{n:03d}",
                arrival_time=arrival,
                power_kw=draw(st.floats(1.0, 9000.0)),
                duration_hours=duration_h,
                deadline=arrival + timedelta(hours=duration_h) + slack,
                max_deferral_hours=draw(st.floats(0.0, 20.0)),
                priority=draw(st.integers(0, 9)),
                sla_penalty_per_hour=draw(st.floats(0.0, 100.0)),
                workload_type="training",
                cluster_id=draw(st.sampled_from(["hpc-1", "hpc-2"])),
            )
        )
    return found


def ingested(agent, jobs):
    return asked(agent, {"command": "ingest_jobs", "jobs": [job.model_dump(mode="json") for job in jobs]})


# --- The wire ---


@pytest.mark.parametrize("command", COMMANDS)
def test_every_published_example_is_understood_and_survives_json(command):
    read = command.model_validate(example_of(command))
    assert name_of(command) == example_of(command)["command"]
    assert command.model_validate_json(read.model_dump_json(by_alias=True)) == read


instants = st.datetimes(datetime(2001, 1, 1), datetime(2098, 1, 1), timezones=st.just(UTC))
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=100)
spans = st.tuples(instants, st.timedeltas(timedelta(seconds=1), timedelta(days=7)))


@LAW
@given(
    spans,
    names,
    st.integers(1, 336),
    st.builds(
        Optimization,
        carbon_penalty_weight=st.floats(0, 1e6),
        sla_penalty_weight=st.floats(0, 1e6),
        max_power_kw=st.floats(0, 1e6, exclude_min=True),
    ),
    job_lists(),
)
def test_any_command_survives_json(span, name, half_hours, optimization, jobs):
    window = {"from": span[0], "to": span[0] + span[1]}
    for command in (
        GetFlexibilityProfile(**window, cluster_id=name),
        GetGridForecast(**window),
        RunCacoPlanning(**{"from": span[0]}, horizon_hours=half_hours / 2, cluster_id=name, optimization=optimization),
        IngestJobs(jobs=jobs),
    ):
        assert type(command).model_validate_json(command.model_dump_json(by_alias=True)) == command


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2025-11-24T00:00:00Z"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(LAW, max_examples=150)
@given(st.data())
def test_whatever_comes_is_answered_with_json(forecaster, data):
    site = Site(forecaster)
    agent = data.draw(st.sampled_from([site.compute, site.grid, site.coordination]))
    example = example_of(data.draw(st.sampled_from(COMMANDS)))
    changed = example | {data.draw(st.sampled_from([*example, "from", "x"])): data.draw(ANYTHING)}
    if data.draw(st.booleans()) and "jobs" in example:
        changed = example | {"jobs": [JOB | {data.draw(st.sampled_from([*JOB])): data.draw(ANYTHING)}]}
    text = data.draw(st.sampled_from([json.dumps(changed), json.dumps(data.draw(ANYTHING)), data.draw(st.text())]))
    answer = asked(agent, text)
    assert answer["status"] in ("success", "error")
    assert "its log says why" not in answer.get("message", "")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 10_000, "not JSON: recursion"),
        ('{"command": NaN}', "not JSON"),
        ("[]", "no command came"),
        ("{}", "no command came"),
        ('{"command": ["ingest_jobs"]}', "unknown command"),
        ('{"command": "sell_the_cluster"}', "known commands are ingest_jobs, get_flexibility_profile"),
    ],
)
def test_what_is_no_known_command_gets_an_error_that_lists_those_known(site, text, hint):
    assert hint in refused(site.compute, text)["message"]


@pytest.mark.parametrize(
    ("change", "field", "hint"),
    [
        ({"from": "2025-11-24T00:00:00"}, "from", "no time zone"),
        ({"to": "2025-11-24"}, "to", "no time zone"),
        ({"from": "yesterday"}, "from", "yesterday"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from", "year"),
        ({"to": "2025-11-24T00:00:00Z"}, "", "from must be before"),
        ({"to": "2025-11-23T00:00:00Z"}, "", "from must be before"),
        ({"to": "2025-12-24T00:00:00Z"}, "", "at most 7 days"),
        ({"region": "FR"}, "region", "'GB'"),
        ({"regoin": "GB"}, "regoin", "not permitted"),
    ],
)
def test_a_wrong_window_is_refused_with_field_and_reason(site, change, field, hint):
    answer = refused(site.grid, example_of(GetGridForecast), **change)
    assert answer["problems"][0]["field"] == field
    assert hint in answer["problems"][0]["message"]


def test_every_wrong_field_is_told_with_its_place(site):
    answer = refused(
        site.compute, {"command": "ingest_jobs", "jobs": [JOB, JOB | {"power_kw": -5, "priority": "high"}]}
    )
    told = {problem["field"]: problem["message"] for problem in answer["problems"]}
    assert set(told) == {"jobs[1].power_kw", "jobs[1].priority"}
    assert "greater than 0; -5 came" in told["jobs[1].power_kw"]


# --- The compute agent ---


@LAW
@given(job_lists())
def test_jobs_sent_again_change_nothing(forecaster, jobs):
    agent = Site(forecaster).compute
    first, again = ingested(agent, jobs), ingested(agent, jobs)
    assert (first["ingested_jobs"], first["known_jobs"], first["tracked_jobs"]) == (len(jobs), 0, len(jobs))
    assert (again["ingested_jobs"], again["known_jobs"], again["tracked_jobs"]) == (0, len(jobs), len(jobs))


def test_of_a_wrong_message_no_job_is_taken(site):
    assert asked(site.compute, {"command": "ingest_jobs", "jobs": [JOB]})["ingested_jobs"] == 1
    fresh = JOB | {"job_id": "job-002"}
    for jobs, hint in (
        ([fresh, JOB | {"power_kw": 10}], "known already and differs"),
        ([fresh, fresh], "comes twice"),
        ([fresh, JOB | {"job_id": "job-003", "power_kw": 12_001}], "at most 12000"),
    ):
        assert hint in refused(site.compute, {"command": "ingest_jobs", "jobs": jobs})["message"]
    assert ingested(site.compute, [JobSpec(**fresh)])["tracked_jobs"] == 2


def test_more_jobs_than_are_kept_are_refused():
    full = [JobSpec(**JOB).model_copy(update={"job_id": f"job-{n}"}) for n in range(MOST_JOBS - 1)]
    agent = ComputeAgent(12_000.0, full)
    two = [JOB | {"job_id": "one"}, JOB | {"job_id": "two"}]
    assert f"at most {MOST_JOBS}" in refused(agent, {"command": "ingest_jobs", "jobs": two})["message"]
    assert asked(agent, {"command": "ingest_jobs", "jobs": two[:1]})["tracked_jobs"] == MOST_JOBS


def test_an_unknown_cluster_is_refused_and_those_known_are_named(site):
    profile = example_of(GetFlexibilityProfile)
    assert asked(site.compute, profile)["jobs"] == []
    asked(site.compute, {"command": "ingest_jobs", "jobs": [JOB]})
    assert "['hpc-1']" in refused(site.compute, profile, cluster_id="hpc-7")["message"]


@LAW
@given(job_lists(), st.sampled_from([None, "hpc-1"]), st.integers(1, 3000), st.integers(0, 1439))
def test_a_profile_adds_up_to_its_windows(forecaster, jobs, cluster, minutes, first_minute):
    site = Site(forecaster)
    ingested(site.compute, [*jobs, JobSpec(**JOB)])
    start = DAY + timedelta(minutes=first_minute)
    window = {"from": start.isoformat(), "to": (start + timedelta(minutes=minutes)).isoformat()}
    profile = FlexibilityProfile.model_validate(
        asked(site.compute, {"command": "get_flexibility_profile", **window, "cluster_id": cluster})
    )
    points = profile.power
    assert points[0].timestamp == profile.window.start <= start
    assert all(b.timestamp - a.timestamp == HALF_HOUR for a, b in pairwise(points))
    assert points[-1].timestamp + HALF_HOUR == profile.window.end
    last, begins = points[-1].timestamp, profile.window.start
    due = [job for job in [*jobs, JobSpec(**JOB)] if job.arrival_time <= last and job.deadline > begins]
    assert {job.job_id for job in profile.jobs} == {job.job_id for job in due if cluster in (None, job.cluster_id)}
    assert profile.sla.jobs == len(profile.jobs) == len(profile.flexibility_windows)
    for job, window in zip(profile.jobs, profile.flexibility_windows, strict=True):
        assert window.earliest_start >= max(job.arrival_time, profile.window.start)
        assert window.latest_start >= window.earliest_start
        if window.latest_start > window.earliest_start:
            assert window.latest_start <= job.arrival_time + timedelta(hours=job.max_deferral_hours)
            assert window.latest_start + timedelta(hours=job.duration_hours) <= job.deadline + timedelta(seconds=1)
    for point in points:
        for begin, total_kw in (("earliest_start", point.earliest_kw), ("latest_start", point.latest_kw)):
            drawn_kw = sum(
                w.power_kw
                for w in profile.flexibility_windows
                if getattr(w, begin) <= point.timestamp < coming(getattr(w, begin) + timedelta(hours=w.duration_hours))
            )
            assert total_kw == pytest.approx(drawn_kw, abs=1e-6)
        assert -1e-9 <= point.deferrable_kw <= point.earliest_kw + 1e-6


# --- The grid agent ---


@LAW
@given(st.integers(0, 1439), st.integers(1, 3 * 1440))
def test_a_forecast_has_one_point_of_each_series_for_every_half_hour_that_the_window_touches(forecaster, at, minutes):
    start = DAY + timedelta(minutes=at)
    window = {"from": start.isoformat(), "to": (start + timedelta(minutes=minutes)).isoformat()}
    agent = Site(forecaster).grid
    found = GridForecast.model_validate(asked(agent, {"command": "get_grid_forecast", **window, "region": "GB"}))
    times = [point.timestamp for point in found.prices]
    assert times == [point.timestamp for point in found.carbon]
    assert times[0] <= start < times[0] + HALF_HOUR
    assert times[-1] < start + timedelta(minutes=minutes) <= times[-1] + HALF_HOUR
    assert all(time.minute % 30 == 0 and time.second == 0 for time in times)
    assert found.issued_at <= NOW


@pytest.mark.parametrize(("day", "periods"), [("2025-10-26", 50), ("2025-11-24", 48)])
def test_a_local_day_is_answered_with_all_its_periods(site, day, periods):
    midnight = datetime.fromisoformat(day + "T00:00:00").replace(tzinfo=ZoneInfo(LOCAL_TIME_ZONE))
    window = {"from": midnight.isoformat(), "to": (midnight + timedelta(days=1)).isoformat()}
    assert len(asked(site.grid, {"command": "get_grid_forecast", **window})["prices"]) == periods


def test_a_window_that_the_table_does_not_reach_is_refused(site):
    window = {"from": "2025-07-01T00:00:00Z", "to": "2025-07-02T00:00:00Z"}
    assert "covers 2025-08-01" in refused(site.grid, {"command": "get_grid_forecast", **window})["message"]


# --- The coordination agent ---


def shape(value):
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__.replace("int", "float")


def test_the_planning_answer_has_exactly_the_agreed_shape(site):
    asked(site.compute, {"command": "ingest_jobs", "jobs": [JOB]})
    plan = asked(site.coordination, example_of(RunCacoPlanning))
    assert plan["flex_offers"], "the example job has slack, so it is on offer"
    assert shape(plan) == shape(CONTRACT)
    assert list(plan) == list(CONTRACT)
    assert plan["window"] == {"from": "2025-11-24T00:00:00Z", "to": "2025-11-25T00:00:00Z", "region": "GB"}


@LAW
@given(
    job_lists(), st.sampled_from([None, "hpc-1"]), st.floats(100.0, 12_000.0), st.integers(1, 60), st.integers(0, 90)
)
def test_a_plan_keeps_what_was_promised(forecaster, jobs, cluster, max_power_kw, half_hours, minute):
    site = Site(forecaster)
    ingested(site.compute, jobs)
    start = DAY + timedelta(minutes=minute)
    answer = asked(
        site.coordination,
        {
            "command": "run_caco_planning",
            "from": start.isoformat(),
            "horizon_hours": half_hours / 2,
            "cluster_id": cluster,
            "optimization": {"max_power_kw": max_power_kw},
        },
    )
    if cluster and cluster not in {job.cluster_id for job in jobs}:
        assert answer["status"] == "error"
        return
    plan = Plan.model_validate(answer)
    specs = {job.job_id: job for job in jobs}
    assert plan.window.start <= start < plan.window.start + HALF_HOUR
    assert plan.window.end - plan.window.start == half_hours * HALF_HOUR
    placed = [row.job_id for row in plan.scheduled_jobs]
    assert len(set(placed)) == len(placed)
    for row in plan.scheduled_jobs:
        job = specs[row.job_id]
        assert cluster in (None, job.cluster_id)
        assert row.power_kw == job.power_kw
        assert row.start_time >= max(job.arrival_time, plan.window.start)
        assert row.end_time <= plan.window.end
        assert row.end_time - row.start_time == timedelta(hours=job.duration_hours)
        deferred = row.start_time - job.arrival_time
        late = deferred > timedelta(hours=job.max_deferral_hours)
        assert not (late and row.is_flexible_offer)
        overdue_h = max((row.end_time - job.deadline) / timedelta(hours=1), 0.0)
        assert row.metadata.lateness_hours == pytest.approx(overdue_h, abs=1e-9)
    for t in range(half_hours):
        at = plan.window.start + t * HALF_HOUR
        drawn = [r.power_kw for r in plan.scheduled_jobs if r.start_time <= at < coming(r.end_time)]
        assert sum(drawn) <= max_power_kw + 1e-6
    rows = {f"flex-{row.job_id}": row for row in plan.scheduled_jobs if row.is_flexible_offer}
    assert [offer.offer_id for offer in plan.flex_offers] == list(rows)
    for offer in plan.flex_offers:
        row = rows[offer.offer_id]
        assert (offer.earliest_start, offer.latest_end) == (row.start_time, row.end_time)
        assert (offer.power_kw, offer.cluster_id) == (row.power_kw, row.metadata.cluster_id)
    latest = LatestPlan.model_validate(asked(site.coordination, example_of(GetLatestPlan)))
    assert latest.scheduled_jobs == plan.scheduled_jobs
    assert not set(latest.unplaced_jobs) & set(placed)


def test_a_plan_is_what_the_scheduler_says_of_what_the_agents_say(site):
    jobs = [JobSpec(**JOB | {"job_id": f"job-{n}", "priority": n, "power_kw": 900 * n}) for n in range(1, 6)]
    ingested(site.compute, jobs)
    forecast = asked(site.grid, example_of(GetGridForecast))
    expected = schedule(
        jobs,
        [PricePoint(**point) for point in forecast["prices"]],
        [CarbonPoint(**point) for point in forecast["carbon"]],
        Weights(0.1, 1.0, 5000.0),
    )
    weights = {"carbon_penalty_weight": 0.1, "sla_penalty_weight": 1.0, "max_power_kw": 5000.0}
    plan = Plan.model_validate(asked(site.coordination, example_of(RunCacoPlanning), optimization=weights))
    assert (plan.scheduled_jobs, plan.flex_offers) == (expected.scheduled_jobs, expected.flex_offers)


def test_without_a_beginning_it_plans_from_the_next_half_hour(site):
    assert asked(site.coordination, {"command": "run_caco_planning"})["window"]["from"] == "2025-11-24T00:00:00Z"


def test_before_the_first_plan_there_is_no_latest(site):
    assert "run_caco_planning first" in refused(site.coordination, {"command": "get_latest_plan"})["message"]


async def _gone(text):
    raise Unreachable("http://127.0.0.1:9: nobody is there")


async def _hangs(text):
    await asyncio.sleep(3600)


async def _babbles(text):
    return '{"status": "success", "jobs": 5}'


@pytest.mark.parametrize(
    ("ask", "hint"),
    [(_gone, "cannot be reached"), (_hangs, "did not answer within 0.2 s"), (_babbles, "did not answer as agreed")],
)
@pytest.mark.parametrize("broken", ["compute", "grid"])
def test_when_another_agent_fails_there_is_an_error_and_the_latest_plan_stays(site, ask, hint, broken):
    asked(site.compute, {"command": "ingest_jobs", "jobs": [JOB]})
    peers = {"compute": Peer("compute", site.compute.answer), "grid": Peer("grid", site.grid.answer)}
    agent = CoordinationAgent(**peers, clock=lambda: NOW, patience_s=5.0)
    before = asked(agent, example_of(RunCacoPlanning))
    agent._patience_s = 0.2
    setattr(agent, f"_{broken}", Peer(broken, ask))
    answer = refused(agent, example_of(RunCacoPlanning))
    assert f"the {broken} agent" in answer["message"]
    assert hint in answer["message"]
    assert asked(agent, example_of(GetLatestPlan))["scheduled_jobs"] == before["scheduled_jobs"]


def test_what_another_agent_refuses_is_passed_on(site):
    answer = refused(site.coordination, example_of(RunCacoPlanning), **{"from": "2020-01-01T00:00:00Z"})
    assert "the grid agent refused: the grid table covers" in answer["message"]


@given(instants, st.timedeltas(timedelta(seconds=1), timedelta(days=7)))
def test_half_hours_surround_an_instant(instant, length):
    assert begun(instant) <= instant < begun(instant) + HALF_HOUR
    assert coming(instant) - HALF_HOUR < instant <= coming(instant)
    first, count = touched(instant, instant + length)
    assert first + (count - 1) * HALF_HOUR < instant + length <= first + count * HALF_HOUR
