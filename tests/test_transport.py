"""Laws of the shared transport, against a real server on this machine where the network matters."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from data.clients.endpoints import Endpoints
from data.clients.transport import OTHER_RATE, HostDown, Patience, open_http, retry_after_s
from data.clients.wire import AnswerError, get_json
from tests.replay import Replay, Trouble, serving

HASTY = Patience(attempts=4, first_wait_s=0.01, longest_wait_s=2.0, jitter_s=0.01, timeout_s=0.5)
NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def replay(table):
    found = Replay(table.iloc[:2])
    found.lists["/thing"] = {"answer": 42}
    with serving(found) as urls:
        found.url = urls.elexon.removesuffix("/elexon") + "/thing"
        yield found


def ask(replay, times=1, cache=None, patience=HASTY):
    async def run():
        async with open_http(cache, patience) as http:
            return [await get_json(http, replay.url) for _ in range(times)]

    return asyncio.run(run())


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(status=500),
        Trouble(status=503, headers={"Retry-After": "0"}),
        Trouble(status=429),
        Trouble(cut=True),
        Trouble(delay_s=0.8),
    ],
    ids=["500", "503 with Retry-After", "429", "cut in the middle of the body", "slower than the timeout"],
)
def test_a_passing_trouble_is_retried_until_the_answer_comes(replay, trouble):
    replay.misbehave("/thing", trouble, trouble)
    assert ask(replay) == [{"answer": 42}]
    assert len(replay.asked) == 3


def test_retry_after_is_obeyed(replay):
    replay.misbehave("/thing", Trouble(status=429, headers={"Retry-After": "1"}))
    start = time.monotonic()
    assert ask(replay) == [{"answer": 42}]
    assert time.monotonic() - start >= 1.0


def test_a_retry_after_beyond_patience_is_an_error_at_once(replay):
    replay.misbehave("/thing", Trouble(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(httpx.HTTPStatusError, match="429"):
        ask(replay)
    assert len(replay.asked) == 1


def test_tries_are_bounded_and_the_last_error_is_told(replay):
    replay.misbehave("/thing", *[Trouble(status=502)] * 9)
    with pytest.raises(httpx.HTTPStatusError, match="502"):
        ask(replay)
    assert len(replay.asked) == HASTY.attempts


def test_an_error_of_ours_is_not_retried(replay):
    replay.misbehave("/thing", Trouble(status=400))
    with pytest.raises(AnswerError, match="400"):
        ask(replay)
    assert len(replay.asked) == 1


def test_a_host_that_keeps_failing_is_left_alone_and_tried_again_later(replay):
    replay.misbehave("/thing", *[Trouble(status=500)] * 3)
    patience = HASTY._replace(attempts=1, failures_to_open=3, reset_s=0.3)

    async def run():
        async with open_http(None, patience) as http:
            for _ in range(3):
                with pytest.raises(httpx.HTTPStatusError):
                    await get_json(http, replay.url)
            for _ in range(5):
                with pytest.raises(HostDown, match="3 times in a row"):
                    await get_json(http, replay.url)
            assert len(replay.asked) == 3
            await asyncio.sleep(0.35)
            return await get_json(http, replay.url)

    assert asyncio.run(run()) == {"answer": 42}


def test_being_told_to_slow_down_does_not_count_as_failing(replay):
    replay.misbehave("/thing", *[Trouble(status=429)] * 3)
    assert ask(replay, patience=HASTY._replace(failures_to_open=2)) == [{"answer": 42}]


def test_what_has_an_etag_is_sent_once_and_then_only_asked_about(replay, tmp_path):
    replay.etags = True
    cache = tmp_path / "cache" / "http.sqlite"
    assert ask(replay, times=3, cache=cache) == [{"answer": 42}] * 3
    assert ask(replay, cache=cache) == [{"answer": 42}]
    tags = [httpx.Headers(headers).get("If-None-Match") for headers in replay.headers]
    assert tags[0] is None
    assert len(set(tags[1:])) == 1
    assert tags[1] is not None
    replay.lists["/thing"] = {"answer": 43}
    assert ask(replay, cache=cache) == [{"answer": 43}]


@respx.mock
def test_no_host_but_our_own_machine_is_asked_faster_than_its_rate():
    respx.route().respond(json=[])

    async def run(url):
        async with open_http(None, HASTY) as http:
            start = time.monotonic()
            await asyncio.gather(*(http.get(url) for _ in range(5)))
            return time.monotonic() - start

    least_s = (5 - OTHER_RATE.requests) * OTHER_RATE.seconds / OTHER_RATE.requests
    assert asyncio.run(run("https://example.org/")) >= 0.9 * least_s
    assert asyncio.run(run("http://127.0.0.1/")) < 0.5


@respx.mock
def test_a_host_that_is_down_closes_no_other():
    down = respx.get("http://127.0.0.1/").respond(500)
    respx.get("http://localhost/").respond(json=[])
    patience = HASTY._replace(attempts=1, failures_to_open=1)

    async def run():
        async with open_http(None, patience) as http:
            for error in (httpx.HTTPStatusError, HostDown):
                with pytest.raises(error):
                    await http.get("http://127.0.0.1/")
            return (await http.get("http://localhost/")).status_code

    assert asyncio.run(run()) == 200
    assert down.call_count == 1


@respx.mock
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_is_to_be_done_is_sent_once(method):
    route = respx.route(method=method).respond(503)

    async def run():
        async with open_http(None, HASTY) as http:
            await http.request(method, "http://127.0.0.1/", json={})

    with pytest.raises(httpx.HTTPStatusError, match="503"):
        asyncio.run(run())
    assert route.call_count == 1


@given(st.integers(0, 100_000))
def test_retry_after_is_read_as_seconds_and_as_a_date(seconds):
    assert retry_after_s(str(seconds), NOW) == seconds
    assert retry_after_s(format_datetime(NOW + timedelta(seconds=seconds)), NOW) == seconds
    assert retry_after_s(format_datetime(NOW - timedelta(seconds=seconds)), NOW) == 0.0


@pytest.mark.parametrize("value", [None, "", "soon", "-3", "1e9x"])
def test_a_retry_after_that_says_nothing_counts_as_none(value):
    assert retry_after_s(value, NOW) is None


def test_urls_come_from_the_environment_and_default_to_the_services():
    urls = Endpoints.from_environment({"GRIDPILOT_ELEXON_URL": "http://127.0.0.1:9/e/", "GRIDPILOT_NESO_URL": ""})
    assert urls.elexon == "http://127.0.0.1:9/e"
    assert urls[1:] == Endpoints()[1:]


def test_logs_hold_no_header(replay, caplog, capfd):
    async def run():
        async with open_http(None, HASTY) as http:
            await http.get(replay.url, headers={"X-Api-Key": "s3cret-key"})

    caplog.set_level(logging.DEBUG)
    replay.misbehave("/thing", Trouble(status=500))
    asyncio.run(run())
    assert any(h.get("X-Api-Key") == "s3cret-key" for h in replay.headers)
    logged = caplog.text + "".join(capfd.readouterr())  # stamina prefers structlog, where that is installed
    assert "retry_scheduled" in logged
    assert "s3cret-key" not in logged
