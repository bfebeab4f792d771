"""The agents as processes: what `python main.py launch` and its siblings do on a real machine."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from data.jobs import JobSpec, load_jobs
from data.workloads import SAMPLE, sample
from main import app
from server.a2a.launch import BATCH, POWER_LIMIT_KW, first_instant, launch
from server.address import listen
from server.caco.answers import Plan
from server.caco.commands import JOB

ROOT = Path(__file__).parent.parent
PATIENCE_S = 90.0


def environment(**changes):
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("AGENT_URL", "JOBS_PATH"))}
    return kept | changes


def main(*arguments, **changes):
    return subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(**changes),
        check=False,
    )


def start(*arguments, **changes):
    """A process as a shell starts one in the background: with Ctrl-C ignored."""
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return begin(*arguments, **changes)
    finally:
        signal.signal(signal.SIGINT, ignored)


def begin(*arguments, **changes):
    return subprocess.Popen(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**changes),
    )


@contextmanager
def ending(*processes):
    """Nothing outlives a test."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def urls_of(process, count):
    """Where the agents of a process answer, once it has said so on stderr."""
    urls = {}
    while len(urls) < count:
        line = process.stderr.readline()
        assert line, "it ended before it served"
        found = re.search(r"(\w+) agent: (http://\S+)", line)
        urls |= {found[1]: found[2]} if found else {}
    return urls


def command(url, **content):
    return httpx.post(f"{url}command", json=content, timeout=60).json()


@pytest.fixture(scope="module")
def launched():
    done = main("launch", "--horizon-hours", "24", "--port", "0")
    assert done.returncode == 0, done.stderr
    return done


def test_launch_prints_the_plan_alone_and_ends(launched):
    (line,) = launched.stdout.splitlines()
    plan = Plan.model_validate_json(line)
    jobs = {job.job_id: job for job in load_jobs(SAMPLE, POWER_LIMIT_KW)}
    assert plan.window.start == min(job.arrival_time for job in jobs.values())
    assert plan.window.end - plan.window.start == timedelta(hours=24)
    assert len(plan.scheduled_jobs) > 0.7 * len(jobs)
    assert plan.flex_offers
    assert {row.job_id for row in plan.scheduled_jobs} <= set(jobs)
    unplaced = set(re.search(r"do not fit into the plan: (.*)", launched.stderr)[1].split(", "))
    assert unplaced == set(jobs) - {row.job_id for row in plan.scheduled_jobs}
    assert "Traceback" not in launched.stderr


def in_this_process(jobs, horizon_hours=24.0):
    return asyncio.run(launch(0, None, jobs, horizon_hours, stay=False))


def test_a_day_that_is_over_gives_the_same_plan_whenever_it_is_launched(launched):
    assert in_this_process(load_jobs(SAMPLE, POWER_LIMIT_KW)) == launched.stdout.rstrip()


def test_the_sample_is_what_its_generator_makes():
    assert json.loads(SAMPLE.read_text()) == {"jobs": sample()}


def test_jobs_of_today_are_planned_from_now():
    now = datetime.now(UTC)
    job = JobSpec(**JOB | {"arrival_time": now - timedelta(hours=1), "deadline": now + timedelta(days=1)})
    plan = Plan.model_validate_json(in_this_process([job], 20.0))
    assert now <= plan.window.start <= datetime.now(UTC) + timedelta(minutes=30)
    assert [row.job_id for row in plan.scheduled_jobs] == ["job-001"]


def test_more_jobs_than_a_message_holds_are_all_planned():
    many = [JobSpec(**JOB | {"job_id": f"job-{n:04d}", "power_kw": 5}) for n in range(BATCH + 7)]
    assert len(json.loads(in_this_process(many))["scheduled_jobs"]) == len(many)


def spec(arrival_h, deadline_h):
    noon = datetime(2025, 11, 24, 12, tzinfo=UTC)
    times = {"arrival_time": noon + timedelta(hours=arrival_h), "deadline": noon + timedelta(hours=deadline_h)}
    return JobSpec(**JOB | times)


@pytest.mark.parametrize(
    ("spans", "hours_after_noon"),
    [
        ([(-9, -4), (-8, -3)], -9),
        ([(-9, -4), (-1, 9)], 0.5),
        ([(3, 9), (5, 11)], 3),
        ([(-9, -4), (3, 9)], 3),
        ([], 0.5),
    ],
)
def test_a_plan_begins_with_the_jobs(spans, hours_after_noon):
    noon = datetime(2025, 11, 24, 12, tzinfo=UTC)
    at = noon + timedelta(minutes=7)
    assert first_instant([spec(*span) for span in spans], at) == noon + timedelta(hours=hours_after_noon)


def test_three_processes_plan_together_and_end_when_told():
    free = [listen("127.0.0.1", 0) for _ in range(3)]
    ports = [str(each.getsockname()[1]) for each in free]
    for each in free:
        each.close()
    coordination_url, compute_url, grid_url = (f"http://127.0.0.1:{port}/" for port in ports)
    names = ("coordination", "compute", "grid")
    processes = [
        start(
            *(name, "--port", port),
            COMPUTE_AGENT_JOBS_PATH=str(SAMPLE),
            COMPUTE_AGENT_URL=compute_url,
            GRID_AGENT_URL=grid_url,
        )
        for name, port in zip(names, ports, strict=True)
    ]
    coordination, compute, grid = processes
    with ending(*processes):
        assert [urls_of(process, 1) for process in processes] == [
            {"coordination": coordination_url},
            {"compute": compute_url},
            {"grid": grid_url},
        ]
        asked = {"command": "run_caco_planning", "from": "2025-11-24T00:00:00Z", "cluster_id": "hpc-1"}
        plan = Plan.model_validate(command(coordination_url, **asked))
        assert plan.scheduled_jobs
        compute.send_signal(signal.SIGINT)
        compute.send_signal(signal.SIGTERM)
        assert compute.wait(20) == 0
        told = command(coordination_url, **asked)
        assert told["status"] == "error"
        assert "the compute agent cannot be reached" in told["message"]
        kept = command(coordination_url, command="get_latest_plan")
        assert len(kept["scheduled_jobs"]) == len(plan.scheduled_jobs)
        for process in (grid, coordination):
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert "Traceback" not in process.stderr.read()


@pytest.fixture
def typed():
    """A command line in this process; gives exit status, stdout and stderr."""
    handler = signal.getsignal(signal.SIGTERM)
    yield lambda *arguments, **changes: CliRunner().invoke(app, arguments, env=changes)
    signal.signal(signal.SIGTERM, handler)


def test_launch_that_stays_serves_all_three_until_interrupted(typed):
    process = begin("launch", "--stay", "--port", "0")
    with ending(process):
        urls = urls_of(process, 3)
        plan = json.loads(process.stdout.readline())
        assert command(urls["coordination"], command="get_latest_plan")["scheduled_jobs"] == plan["scheduled_jobs"]
        again = typed("plan", "--from", plan["window"]["from"], COORDINATION_AGENT_URL=urls["coordination"])
        assert (again.exit_code, json.loads(again.stdout)) == (0, plan)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "")
        gone = typed("plan", COORDINATION_AGENT_URL=urls["coordination"])
        assert (gone.exit_code, gone.stdout) == (2, "")
        assert f"error: {urls['coordination']}" in gone.stderr
        assert "Traceback" not in errors
        for url in urls.values():
            with pytest.raises(httpx.ConnectError):
                httpx.get(url)


@pytest.mark.parametrize("name", ["compute", "launch"])
def test_a_taken_port_is_one_clear_line(typed, name):
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    done = typed(name, "--port", str(port))
    taken.close()
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"error: cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (None, "No such file"),
        ("{", "is not JSON"),
        ("{}", "no list of jobs"),
        (json.dumps([JOB, JOB | {"job_id": "b", "power_kw": -1}]), "job 1.power_kw: Input should be greater than 0"),
        (json.dumps([JOB, JOB]), "comes twice"),
    ],
)
@pytest.mark.parametrize("name", ["compute", "launch"])
def test_a_wrong_file_of_jobs_is_one_clear_line(typed, tmp_path, name, content, hint):
    file = tmp_path / "jobs.json"
    if content is not None:
        file.write_text(content)
    done = typed(name, "--port", "0", COMPUTE_AGENT_JOBS_PATH=str(file))
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert hint in line


def test_a_folder_without_a_table_is_one_clear_line(typed, tmp_path):
    done = typed("grid", "--port", "0", "--data", str(tmp_path))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no gb_halfhourly.parquet" in done.stderr


def test_a_horizon_that_is_not_allowed_is_answered_with_the_reason(typed):
    done = typed("launch", "--horizon-hours", "0.7", "--port", "0")
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["status"]) == (1, "error")
    assert answer["problems"][0]["field"] == "horizon_hours"


def test_help_names_the_commands_without_loading_what_they_run():
    code = "import sys, main; print([m for m in ('numpy', 'a2a', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    shown = main("--help").stdout
    assert all(name in shown for name in ("launch", "coordination", "compute", "grid"))
