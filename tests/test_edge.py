"""The border of the service: who is let in, how often, how much, and what is noted of it."""

import asyncio
import json
import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from fastapi import Request
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.access import CHANGES, OPEN, needed
from server.address import check_loopback
from server.app import MOST_BODY_BYTES, Edge, create_app
from server.dispatcher import Dispatcher
from server.json_route import JsonRequest
from server.logs import write_logs
from server.metrics import Metrics
from server.schemas import example as example_order
from server.settings import Settings
from server.tokens import Right, new_token
from tests.small_bundle import write_small_bundle

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer Starlettes ask for httpx2 and work with httpx
    from fastapi.testclient import TestClient

ROOT = Path(__file__).parents[1]
SECRETS = {right: new_token(f"the-{right}", (right,)) for right in Right}
TOKENS = tuple(token for _, token in SECRETS.values())


@pytest.fixture(scope="module")
def dispatcher(tmp_path_factory):
    return Dispatcher.from_bundle(write_small_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def guarded(dispatcher):
    with TestClient(create_app(dispatcher, edge=Edge(TOKENS, any_host=False))) as client:
        yield client


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("right", list(Right))
def test_a_token_allows_what_its_scope_names_and_nothing_else(guarded, right):
    headers = bearer(SECRETS[right][0])
    got = {
        Right.READ: guarded.get("/metrics", headers=headers).status_code,
        Right.DISPATCH: guarded.post("/v1/dispatch", json=example_order(), headers=headers).status_code,
    }
    for wanted, status in got.items():
        assert status == (200 if right in (wanted, Right.ADMIN) else 403)


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("guess"), bearer(""), bearer(SECRETS[Right.ADMIN][0][:-1]), bearer(TOKENS[0].sha256),
     {"Authorization": SECRETS[Right.ADMIN][0]}, {"Authorization": f"Basic {SECRETS[Right.ADMIN][0]}"}],
)  # fmt: skip
def test_without_a_known_token_only_open_pages_answer(guarded, headers):
    refused = guarded.post("/v1/dispatch", json=example_order(), headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert guarded.get("/metrics", headers=headers).status_code == 401
    assert guarded.get("/nowhere", headers=headers).status_code == 401
    for page in OPEN:
        assert guarded.get(page, headers=headers).status_code == 200


def test_a_refused_body_is_never_read_as_json(guarded):
    headers = {"Content-Type": "application/json"}
    assert guarded.post("/v1/dispatch", content=b"{", headers=headers).status_code == 401
    assert guarded.post("/v1/dispatch", content=b"[" * 2 * MOST_BODY_BYTES, headers=headers).status_code == 401


@given(st.sampled_from(["POST", "PUT", "PATCH", "DELETE", "TRACE", "ODD"]), st.text(max_size=30))
def test_what_nobody_thought_of_needs_the_highest_right(method, tail):
    paths = [prefix for prefix, _ in CHANGES]
    path = f"/{tail}"
    if path in OPEN or any(path == known or path.startswith(f"{known}/") for known in (*paths, "/docs")):
        return
    assert needed(method, path) is Right.ADMIN
    assert needed("GET", path) is Right.READ
    assert needed(method, "/v1/dispatchers") is Right.ADMIN


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8080", 200), ("127.0.0.1", 200), ("[::1]:8080", 200), ("evil.example", 403), ("", 403),
     ("127.0.0.1.evil.example", 403), ("localhost.evil.example:8080", 403)],
)  # fmt: skip
def test_without_tokens_a_web_page_cannot_ask_under_its_own_name(dispatcher, host, status):
    with TestClient(create_app(dispatcher, edge=Edge(any_host=False))) as client:
        assert client.get("/health/live", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", ""])
def test_other_machines_are_served_with_tokens_only(host):
    with pytest.raises(ValueError, match="GRIDPILOT_TOKENS"):
        check_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_is_served_without(host):
    check_loopback(host)


def test_an_address_that_asks_too_often_is_told_to_wait_and_then_answered(dispatcher):
    edge = Edge(requests_per_second=5.0)
    with TestClient(create_app(dispatcher, edge=edge)) as client:
        answers = [client.get("/health/live") for _ in range(8)]
        assert [a.status_code for a in answers][:5] == [200] * 5
        assert answers[-1].status_code == 429
        assert answers[-1].headers["retry-after"] == "1"
        assert "5 requests a second" in answers[-1].json()["detail"][0]["message"]
    with TestClient(create_app(dispatcher, edge=edge), client=("203.0.113.9", 1)) as other:
        assert other.get("/health/live").status_code == 200


def test_guessing_tokens_is_slow_too(dispatcher):
    with TestClient(create_app(dispatcher, edge=Edge(TOKENS, requests_per_second=3.0))) as client:
        statuses = [client.get("/metrics", headers=bearer(f"guess-{i}")).status_code for i in range(6)]
    assert statuses[0] == 401
    assert statuses[-1] == 429


def test_a_request_keeps_its_id_or_gets_one(guarded):
    assert guarded.get("/health/live", headers={"X-Request-ID": "trace-7.1"}).headers["x-request-id"] == "trace-7.1"
    made = {guarded.get("/health/live", headers={"X-Request-ID": bad}).headers["x-request-id"]
            for bad in ("", "two words", "x" * 65, '{"level": "error"}')}  # fmt: skip
    assert len(made) == 4
    assert all(len(each) == 32 for each in made)
    assert "x-request-id" in guarded.get("/nowhere").headers


@pytest.fixture
def lines(capsys):
    """Runs a deed with logs as JSON and gives the lines it wrote."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level

    def run(deed):
        write_logs(as_json=True)
        deed()
        written = capsys.readouterr().err
        return written, [json.loads(line) for line in written.splitlines()]

    yield run
    root.handlers[:] = before
    root.setLevel(level)


def test_the_log_has_a_line_of_json_for_every_request_and_no_secret(dispatcher, lines):
    secret = SECRETS[Right.DISPATCH][0]
    app = create_app(dispatcher, edge=Edge(TOKENS))

    def ask():
        with TestClient(app) as client:
            headers = {**bearer(secret), "X-Request-ID": "abc", "Cookie": "session=tasty"}
            client.post("/v1/dispatch?key=hunter2", json=example_order(), headers=headers)
            client.post("/v1/dispatch", json=example_order(), headers=bearer("wrong-secret"))

    written, said = lines(ask)
    asked = [line for line in said if line["event"] == "request"]
    assert [(line["status"], line["route"], line["caller"]) for line in asked] == [
        (200, "/v1/dispatch", "the-dispatch"),
        (401, "(none)", None),
    ]
    assert asked[0]["request_id"] == "abc"
    assert {"timestamp", "level", "took_ms", "client"} <= set(asked[0])
    for hidden in (secret, "hunter2", "tasty", "wrong-secret", "charge_fraction"):
        assert hidden not in written


def test_an_error_of_ours_is_logged_with_its_request_and_hides_its_inside(dispatcher, lines):
    app = create_app(dispatcher)

    @app.get("/v1/broken")
    def broken() -> None:
        raise RuntimeError("inner detail")

    answers = []

    def ask():
        with TestClient(app, raise_server_exceptions=False) as client:
            answers.append(client.get("/v1/broken", headers={"X-Request-ID": "abc"}))

    _, said = lines(ask)
    assert answers[0].status_code == 500
    assert answers[0].headers["x-request-id"] == "abc"
    assert "inner detail" not in answers[0].text
    (line,) = [each for each in said if each["event"] == "request"]
    assert (line["status"], line["request_id"], line["route"]) == (500, "abc", "/v1/broken")


def test_metrics_count_requests_by_route_and_decisions(dispatcher):
    with TestClient(create_app(dispatcher)) as client:
        client.post("/v1/dispatch", json=example_order())
        client.post("/v1/dispatch", json={})
        client.get("/a-path-nobody-knows-4711")
        text = client.get("/metrics").text
    assert 'gridpilot_requests_total{method="POST",route="/v1/dispatch",status="200"} 1.0' in text
    assert 'gridpilot_requests_total{method="POST",route="/v1/dispatch",status="422"} 1.0' in text
    assert 'gridpilot_requests_total{method="GET",route="(none)",status="404"} 1.0' in text
    assert 'gridpilot_request_seconds_count{method="POST",route="/v1/dispatch"} 2.0' in text
    assert sum(line.startswith("gridpilot_decisions_total{") for line in text.splitlines()) == 1
    assert "4711" not in text


def test_a_reading_that_fails_hides_no_other_metric():
    metrics = Metrics()
    metrics.read("gridpilot_orders", "Orders.", "state", lambda: {"accepted": 3.0})
    metrics.read("gridpilot_broken", "Broken.", "key", lambda: 1 / 0)
    assert b'gridpilot_orders{state="accepted"} 3.0' in metrics.text()


def test_the_docs_need_no_internet(guarded):
    page = guarded.get("/docs")
    assert page.status_code == 200
    linked = re.findall(r"""(?:src|href|url)["']?[=:]\s*["']([^"']+)""", page.text)
    assert len(linked) >= 4
    assert not [link for link in linked if "//" in link]
    for file in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert f"docs/files/{file}" in page.text
        assert guarded.get(f"/docs/files/{file}").status_code == 200


@settings(max_examples=30)
@given(st.lists(st.sampled_from(list(Right)), min_size=1, unique=True))
def test_tokens_come_back_from_the_environment_as_they_were_made(scopes):
    secret, token = new_token("ems", tuple(scopes))
    text = json.dumps([token.model_dump(mode="json")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRIDPILOT_TOKENS", text)
        assert Settings.from_environment().tokens == (token,)
    assert secret not in text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TOKENS", "[{", "GRIDPILOT_TOKENS: it is not JSON"),
        ("TOKENS", '[{"name": "ems", "scopes": ["fly"], "sha256": "' + "0" * 64 + '"}]', r"GRIDPILOT_TOKENS \[0\]"),
        ("TOKENS", '[{"name": "ems", "scopes": ["read"], "sha256": "hunter2"}]', r"GRIDPILOT_TOKENS \[0\] \[sha256\]"),
        ("AUDIT_KEY", "hunter2", "GRIDPILOT_AUDIT_KEY: it must be 64"),
        ("DATABASE_URL", "hunter2", "GRIDPILOT_DATABASE_URL: it is no database URL"),
    ],
)
def test_a_wrong_setting_is_named_and_not_repeated(monkeypatch, name, value, said):
    monkeypatch.setenv(f"GRIDPILOT_{name}", value)
    with pytest.raises(ValueError, match=said) as error:
        Settings.from_environment()
    assert "hunter2" not in str(error.value)
    assert error.value.__suppress_context__


def test_secrets_may_be_files(monkeypatch, tmp_path):
    (tmp_path / "GRIDPILOT_AUDIT_KEY").write_text("11" * 32 + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Settings.from_environment().signing_key is not None


def test_a_made_token_opens_the_door():
    done = subprocess.run(
        [sys.executable, "main.py", "token", "new", "--name", "ems", "--scope", "read", "--scope", "risk"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    secret, kept = done.stdout.splitlines()
    token = json.loads(kept)
    assert (token["name"], token["scopes"]) == ("ems", ["read", "risk"])
    assert len(secret) >= 43


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(body=ANY_JSON.map(json.dumps) | st.text())
@example(body="[" * 5000)
@example(body='{"a": 1, "a": "\\ud800"}')
def test_a_body_is_what_the_standard_parser_reads_in_it(body):
    async def receive():
        return {"type": "http.request", "body": body.encode(errors="replace"), "more_body": False}

    def read(kind):
        request = kind({"type": "http", "headers": []}, receive)
        try:
            return repr(asyncio.run(request.json()))  # NaN is not equal to itself
        except (ValueError, RecursionError) as error:
            return repr(error)

    assert read(JsonRequest) == read(Request)
