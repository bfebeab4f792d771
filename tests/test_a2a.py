"""The agents as A2A knows them: cards, both protocol versions, errors, and what strangers may not do."""

import asyncio
import json
import threading
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
import pytest
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.helpers import get_message_text, new_data_message, new_text_message
from a2a.types import Role, SendMessageRequest
from a2a.utils.errors import VersionNotSupportedError
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from data.synthetic import generate
from forecasting.grid_forecast import GridForecaster
from server.a2a.app import MOST_BYTES, create_app
from server.a2a.client import ask
from server.a2a.serving import serving
from server.address import listen, url_of
from server.caco.agent import Unreachable
from server.caco.commands import JOB, GetGridForecast, IngestJobs, RunCacoPlanning, example_of, name_of
from server.caco.compute import ComputeAgent
from server.caco.coordination import CoordinationAgent, Peer
from server.caco.grid import GridAgent

NOW = datetime(2025, 11, 23, 23, 47, tzinfo=UTC)
INGEST = {"command": "ingest_jobs", "jobs": [JOB]}
# What version 1.0 of the protocol calls required in a card, and version 0.3 in its own.
REQUIRED_1_0 = {
    "name", "description", "supportedInterfaces", "version", "capabilities", "defaultInputModes",
    "defaultOutputModes", "skills",
}  # fmt: skip
CARD_0_3 = {
    "type": "object",
    "required": [
        "capabilities", "defaultInputModes", "defaultOutputModes", "description", "name", "protocolVersion",
        "skills", "url", "version",
    ],
    "properties": {
        "protocolVersion": {"const": "0.3"},
        "preferredTransport": {"const": "JSONRPC"},
        "url": {"type": "string", "format": "uri"},
        "capabilities": {"type": "object"},
        "defaultInputModes": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "defaultOutputModes": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "skills": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["id", "name", "description", "tags"],
                "properties": {"tags": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
            },
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def grid():
    return GridAgent(GridForecaster(generate("2025-10-01", "2026-01-01", seed=5)), lambda: NOW)


@contextmanager
def served(*agents):
    """Real sockets and a server in a thread; gives the URLs."""
    sockets = [listen("127.0.0.1", 0) for _ in agents]
    urls = [url_of(listening) for listening in sockets]
    up, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def run():
        sites = [(create_app(agent, url), s) for agent, url, s in zip(agents, urls, sockets, strict=True)]
        async with serving(*sites):
            up.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert up.wait(20)
    try:
        yield urls
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


@pytest.fixture(scope="module")
def urls(grid):
    with served(ComputeAgent(12_000.0), grid) as (compute_url, grid_url):
        agent = CoordinationAgent(
            Peer("compute", partial(ask, compute_url)), Peer("grid", partial(ask, grid_url)), lambda: NOW
        )
        with served(agent) as (coordination_url,):
            yield {"compute": compute_url, "grid": grid_url, "coordination": coordination_url}


class Wire:
    """An application as an HTTP client sees it."""

    def __init__(self, agent):
        self.app = create_app(agent, "http://127.0.0.1:9002/")

    def request(self, method, path, **content):
        async def send():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9002") as client:
                return await client.request(method, path, **content)

        return asyncio.run(send())

    def post(self, path, **content):
        return self.request("POST", path, **content)


@pytest.fixture
def wire():
    return Wire(ComputeAgent(12_000.0))


def message(command, **changes):
    text = command if isinstance(command, str) else json.dumps(command)
    return {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": text}], **changes}


def message_0_3(command):
    text = command if isinstance(command, str) else json.dumps(command)
    return {"kind": "message", "messageId": "m2", "role": "user", "parts": [{"kind": "text", "text": text}]}


def rpc(wire, method, params, version="1.0", **changes):
    body = {"jsonrpc": "2.0", "id": "1", "method": method, "params": params, **changes}
    answer = wire.post("/", json=body, headers={"A2A-Version": version} if version else {})
    assert answer.status_code == 200
    return answer.json()


def said(answer):
    """The agent's JSON in a JSON-RPC answer of either version."""
    result = answer["result"]
    parts = result["message"]["parts"] if "message" in result else result["parts"]
    assert len(parts) == 1
    return json.loads(parts[0]["text"])


# --- A01: cards ---


@pytest.mark.parametrize(
    ("agent", "skills"),
    [
        ("compute", ["ingest_jobs", "get_flexibility_profile"]),
        ("grid", ["get_grid_forecast"]),
        ("coordination", ["run_caco_planning", "get_latest_plan"]),
    ],
)
def test_a_card_satisfies_both_versions_and_has_one_skill_per_command(urls, agent, skills):
    with urllib.request.urlopen(f"{urls[agent]}.well-known/agent-card.json", timeout=10) as answer:
        assert answer.headers["content-type"] == "application/json"
        card = json.load(answer)
    assert set(card) >= REQUIRED_1_0
    assert all(card[name] for name in REQUIRED_1_0)
    assert {(i["protocolBinding"], i["protocolVersion"], i["url"]) for i in card["supportedInterfaces"]} == {
        ("JSONRPC", "1.0", urls[agent]),
        ("JSONRPC", "0.3", urls[agent]),
    }
    Draft7Validator(CARD_0_3).validate(card)
    assert [skill["id"] for skill in card["skills"]] == skills
    assert card["capabilities"] == {"streaming": False, "pushNotifications": False}


def test_the_example_of_every_skill_is_understood(urls):
    for url in (urls["compute"], urls["grid"], urls["coordination"]):
        card = httpx.get(f"{url}.well-known/agent-card.json").json()
        for skill in card["skills"]:
            command = json.loads(skill["examples"][0])
            assert command["command"] == skill["id"]
            assert json.loads(asyncio.run(ask(url, json.dumps(command))))["status"] == "success"


# --- A02: an independent client ---


async def sdk_answers(url, request, version):
    """What the SDK's own client gets, when it is told to speak one version."""
    async with httpx.AsyncClient(timeout=30) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        chosen = [i for i in card.supported_interfaces if i.protocol_version == version]
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(chosen)
        client = ClientFactory(ClientConfig(httpx_client=http)).create(card)
        return [get_message_text(response.message) async for response in client.send_message(request)]


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.parametrize("as_data", [False, True])
def test_the_sdk_s_client_completes_a_round_trip_with_every_agent(urls, version, as_data):
    for agent, command in (("compute", IngestJobs), ("grid", GetGridForecast), ("coordination", RunCacoPlanning)):
        content = example_of(command)
        sent = (
            new_data_message(content, role=Role.ROLE_USER)
            if as_data
            else new_text_message(json.dumps(content), role=Role.ROLE_USER)
        )
        request = SendMessageRequest(message=sent)
        (answer,) = asyncio.run(sdk_answers(urls[agent], request, version))
        assert json.loads(answer)["status"] == "success", (agent, answer)


# --- A03: both versions by hand, and the table of errors ---


def test_a_message_of_1_0_is_answered_in_1_0(wire):
    answer = rpc(wire, "SendMessage", {"message": message(INGEST, contextId="c1")})
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", "1")
    assert set(answer["result"]) == {"message"}
    sent = answer["result"]["message"]
    assert set(sent) == {"messageId", "contextId", "role", "parts"}
    assert (sent["role"], sent["contextId"]) == ("ROLE_AGENT", "c1")
    assert said(answer) == {"status": "success", "ingested_jobs": 1, "known_jobs": 0, "tracked_jobs": 1}


def test_a_message_of_0_3_is_answered_in_0_3(wire):
    answer = rpc(wire, "message/send", {"message": message_0_3(INGEST)}, version=None)
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", "1")
    sent = answer["result"]
    assert set(sent) == {"contextId", "kind", "messageId", "parts", "role"}
    assert (sent["kind"], sent["role"], sent["parts"][0]["kind"]) == ("message", "agent", "text")
    assert said(answer)["ingested_jobs"] == 1


def test_a_data_part_is_read_as_a_text_part_is(wire):
    data = message(INGEST, parts=[{"data": INGEST, "mediaType": "application/json"}])
    assert said(rpc(wire, "SendMessage", {"message": data}))["ingested_jobs"] == 1
    old = message_0_3("") | {"parts": [{"kind": "data", "data": INGEST}]}
    assert said(rpc(wire, "message/send", {"message": old}, version=None))["known_jobs"] == 1


PUSH = {"taskId": "t", "url": "http://127.0.0.1/"}
PNG = [{"raw": "aGFsbG8=", "mediaType": "image/png"}]


@pytest.mark.parametrize(
    ("method", "params", "version", "code"),
    [
        ("SendMessage", {}, "1.0", -32602),
        ("SendMessage", {"message": message(INGEST, parts=[])}, "1.0", -32602),
        ("SendMessage", {"message": message(INGEST, parts=[{"text": "{}"}] * 2)}, "1.0", -32602),
        ("SendMessage", {"message": {"parts": [{"text": "{}"}], "role": "ROLE_USER"}}, "1.0", -32602),
        ("SendMessage", [], "1.0", -32602),
        ("SendMessage", {"message": message(INGEST)}, None, -32009),
        ("SendMessage", {"message": message(INGEST)}, "2.0", -32009),
        ("SendMessage", {"message": message(INGEST, taskId="t")}, "1.0", -32001),
        ("SendMessage", {"message": message(INGEST, parts=PNG)}, "1.0", -32005),
        ("SendMessage", {"message": message(INGEST, parts=[{"url": "http://a/b"}])}, "1.0", -32005),
        (
            "SendMessage",
            {"message": message(INGEST), "configuration": {"acceptedOutputModes": ["image/png"]}},
            "1.0",
            -32005,
        ),
        (
            "SendMessage",
            {"message": message(INGEST), "configuration": {"taskPushNotificationConfig": PUSH}},
            "1.0",
            -32003,
        ),
        ("SendStreamingMessage", {"message": message(INGEST)}, "1.0", -32004),
        ("SubscribeToTask", {"id": "t"}, "1.0", -32004),
        ("GetExtendedAgentCard", {}, "1.0", -32004),
        ("GetTask", {"id": "t"}, "1.0", -32001),
        ("GetTask", {}, "1.0", -32602),
        ("CancelTask", {"id": "t"}, "1.0", -32001),
        ("CreateTaskPushNotificationConfig", PUSH, "1.0", -32003),
        ("GetTaskPushNotificationConfig", {"taskId": "t", "id": "p"}, "1.0", -32003),
        ("ListTaskPushNotificationConfigs", {"taskId": "t"}, "1.0", -32003),
        ("DeleteTaskPushNotificationConfig", {"taskId": "t", "id": "p"}, "1.0", -32003),
        ("SellTheCluster", {}, "1.0", -32601),
        ("tasks/get", {"id": "t"}, None, -32001),
        ("tasks/cancel", {"id": "t"}, None, -32001),
        ("tasks/pushNotificationConfig/get", {"id": "t"}, None, -32003),
        ("message/send", {"message": {}}, None, -32600),
    ],
)
def test_each_wrong_request_gets_the_error_of_the_table(wire, method, params, version, code):
    answer = rpc(wire, method, params, version)
    assert set(answer) == {"jsonrpc", "id", "error"}
    assert answer["id"] == "1"
    assert answer["error"]["code"] == code, answer


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"", -32700),
        (b"\xff", -32700),
        (b'"\\ud800"', -32700),
        (b"[" * 100_000, -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": NaN}}', -32700),
        (b"5", -32600),
        (b"[]", -32600),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "t"}}]', -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "GetTask"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1}', -32600),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "GetTask"}', -32600),
    ],
)
def test_what_is_no_request_gets_a_json_rpc_error(wire, body, code):
    answer = wire.post("/", content=body, headers={"Content-Type": "application/json", "A2A-Version": "1.0"})
    assert answer.status_code == 200
    assert answer.json()["error"]["code"] == code


def test_infinity_in_a_data_part_is_refused(wire):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message(INGEST)}})
    body = body.replace(json.dumps(message(INGEST)["parts"]), '[{"data": {"command": 1e400}}]')
    answer = wire.post("/", content=body, headers={"Content-Type": "application/json", "A2A-Version": "1.0"})
    assert answer.json()["error"]["code"] == -32602


def test_there_are_no_tasks(wire):
    assert rpc(wire, "ListTasks", {})["result"]["tasks"] == []


def test_a_refused_version_is_an_error_of_the_sdk_too(urls):
    request = SendMessageRequest(message=new_text_message("{}", role=Role.ROLE_USER))

    async def speak():
        async with httpx.AsyncClient(headers={"A2A-Version": "2.0"}) as http:
            client = await ClientFactory(ClientConfig(httpx_client=http)).create_from_url(urls["grid"])
            return [response async for response in client.send_message(request)]

    with pytest.raises(VersionNotSupportedError):
        asyncio.run(speak())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(["SendMessage", "GetTask", "ListTasks", "message/send", "tasks/get", "agent/x"]),
    st.dictionaries(st.sampled_from(["jsonrpc", "id", "params", "method"]), json_values, max_size=2),
    st.dictionaries(st.sampled_from(["messageId", "role", "parts", "contextId", "taskId", "kind"]), json_values),
)
def test_whatever_request_comes_the_answer_is_json_rpc(method, changes, message_changes):
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message(INGEST) | message_changes}}
    answer = Wire(ComputeAgent(12_000.0)).post("/", json=body | changes, headers={"A2A-Version": "1.0"})
    assert answer.status_code == 200
    found = answer.json()
    assert found["jsonrpc"] == "2.0"
    assert ("result" in found) != ("error" in found)
    assert found.get("error", {}).get("code") != -32603, found


# --- A04 and A05: an agent's own errors are messages ---


@pytest.mark.parametrize(
    ("version", "method", "make"), [("1.0", "SendMessage", message), (None, "message/send", message_0_3)]
)
def test_a_wrong_command_is_answered_by_the_agent_and_not_by_the_protocol(wire, version, method, make):
    for command, hint in (
        ("{", "not JSON"),
        ({"command": "ingest_jobs", "jobs": [JOB | {"power_kw": -1}]}, "greater than 0"),
        ({"command": "sell_the_cluster"}, "known commands are ingest_jobs, get_flexibility_profile"),
    ):
        told = said(rpc(wire, method, {"message": make(command)}, version))
        assert told["status"] == "error"
        assert hint in told["message"]


def test_an_agent_that_breaks_says_so_without_a_traceback(grid, caplog):
    class Broken(GridAgent):
        async def forecast(self, command):
            raise RuntimeError("secret detail")

    broken = Wire(Broken(grid._forecaster, lambda: NOW))
    told = said(rpc(broken, "SendMessage", {"message": message(example_of(GetGridForecast))}))
    assert told["message"] == "the grid agent failed; its log says why"
    assert "secret detail" in caplog.text


# --- A06: repetition ---


def test_the_same_message_twice_takes_in_its_jobs_once(wire):
    first, again = (said(rpc(wire, "SendMessage", {"message": message(INGEST)})) for _ in range(2))
    assert (first["ingested_jobs"], first["tracked_jobs"]) == (1, 1)
    assert (again["ingested_jobs"], again["tracked_jobs"]) == (0, 1)


def test_an_old_message_that_comes_again_undoes_nothing(wire):
    rpc(wire, "SendMessage", {"message": message(INGEST)})
    changed = {"command": "ingest_jobs", "jobs": [JOB | {"power_kw": 900}]}
    assert said(rpc(wire, "SendMessage", {"message": message(changed, messageId="m9")}))["status"] == "error"
    profile = {"command": "get_flexibility_profile", "from": "2025-11-24T00:00:00Z", "to": "2025-11-25T00:00:00Z"}
    assert said(rpc(wire, "SendMessage", {"message": message(profile)}))["jobs"][0]["power_kw"] == JOB["power_kw"]


# --- A07: another agent is down ---


def test_with_the_compute_agent_down_planning_says_so_at_once(grid):
    free = listen("127.0.0.1", 0)
    nobody = url_of(free)
    free.close()
    agent = CoordinationAgent(Peer("compute", partial(ask, nobody)), Peer("grid", grid.answer), lambda: NOW)
    began = datetime.now(UTC)
    told = json.loads(asyncio.run(agent.answer(json.dumps(example_of(RunCacoPlanning)))))
    assert datetime.now(UTC) - began < timedelta(seconds=10)
    assert told["status"] == "error"
    assert set(told) == {"status", "message", "problems"}
    assert f"the compute agent cannot be reached: {nobody}" in told["message"]


def test_what_speaks_no_a2a_is_unreachable(urls):
    async def plain(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    listening = listen("127.0.0.1", 0)

    async def speak():
        async with serving((plain, listening)):
            await ask(url_of(listening), "{}")

    with pytest.raises(Unreachable):
        asyncio.run(speak())
    for url in ("no url", "http://127.0.0.1:1/", f"{urls['grid']}elsewhere"):
        with pytest.raises(Unreachable):
            asyncio.run(ask(url, "{}"))


# --- A08: time ---


@pytest.mark.parametrize(
    ("change", "hint"),
    [({"from": "2025-11-24T00:00:00"}, "no time zone"), ({"to": "2025-11-24T00:00:00Z"}, "from must be before")],
)
def test_naive_and_reversed_times_are_refused(urls, change, hint):
    command = example_of(GetGridForecast) | change
    told = json.loads(asyncio.run(ask(urls["grid"], json.dumps(command))))
    assert told["status"] == "error"
    assert hint in told["message"]


def test_a_naive_job_is_refused(wire):
    naive = {"command": "ingest_jobs", "jobs": [JOB | {"arrival_time": "2025-11-24T06:00:00"}]}
    assert "no time zone" in said(rpc(wire, "SendMessage", {"message": message(naive)}))["message"]


# --- Bare commands, and strangers ---


def test_a_command_by_itself_is_answered_too(wire):
    assert wire.post("/command", json=INGEST).json()["ingested_jobs"] == 1
    wrong = wire.post("/command", json={"command": name_of(GetGridForecast)})
    assert (wrong.status_code, wrong.json()["status"]) == (422, "error")


def test_a_large_body_is_refused(wire):
    for path in ("/", "/command"):
        answer = wire.post(path, content=b" " * (MOST_BYTES + 1), headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert "in pieces" in answer.json()["detail"][0]["message"]


def test_web_pages_cannot_command_an_agent(wire):
    for path in ("/", "/command"):
        simple = wire.post(path, content=json.dumps(INGEST), headers={"Content-Type": "text/plain"})
        assert simple.status_code == 415
        rebound = wire.post(path, json=INGEST, headers={"Host": "attacker.example"})
        assert rebound.status_code == 400
        assert (
            "access-control-allow-origin" not in wire.request("OPTIONS", path, headers={"Origin": "http://a"}).headers
        )


def test_health_is_told(wire):
    assert wire.request("GET", "/health/live").json() == {"status": "live", "agent": "compute"}
    assert wire.request("GET", "/").status_code == 405
    assert wire.request("GET", "/.well-known/agent.json").status_code == 404
