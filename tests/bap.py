"""An independent buyer: it knows the published schema and signing rules, and nothing of our code."""

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
import uuid
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jsonschema import Draft202012Validator, FormatChecker

SCHEMA = Path(__file__).parent / "fixtures" / "beckn" / "core-0.9.4.yaml"


@cache
def _core() -> dict[str, Any]:
    return yaml.safe_load(SCHEMA.read_text())


def _closed(schema: Any, seen: tuple[str, ...] = ()) -> Any:
    """A JSON schema without references in which every object knows all of its names."""
    if "$ref" in schema:
        if schema["$ref"] in seen:
            return {}
        found = _core()
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return _closed(found, (*seen, schema["$ref"]))
    if "allOf" in schema:
        merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
        for inner in (*schema["allOf"], {key: value for key, value in schema.items() if key != "allOf"}):
            part = _closed(inner, seen)
            merged["properties"] |= part.get("properties", {})
            merged["required"] += part.get("required", [])
        return {**merged, "additionalProperties": False}
    closed = {key: value for key, value in schema.items() if key not in ("properties", "items", "example", "nullable")}
    if "properties" in schema:
        closed["properties"] = {name: _closed(inner, seen) for name, inner in schema["properties"].items()}
        closed.setdefault("additionalProperties", False)
        closed["type"] = "object"
    if "items" in schema:
        closed["items"] = _closed(schema["items"], seen)
    if isinstance(closed.get("format"), str) and closed["format"] not in ("date-time", "email"):
        del closed["format"]  # ids of form uri are bare host names in every published sample
    if "pattern" in closed:
        closed["pattern"] = f"^(?:{closed['pattern']})$"
    return closed


@cache
def _validator(path: str, response: bool) -> Draft202012Validator:
    post = _core()["paths"][path]["post"]
    where = post["responses"]["200"] if response else post["requestBody"]
    schema = _closed(where["content"]["application/json"]["schema"])
    if response:  # the published acknowledgement of on_search asks for a context that it does not define
        schema["required"] = [name for name in schema.get("required", []) if name in schema["properties"]]
    return Draft202012Validator(schema, format_checker=FormatChecker())


def faults(path: str, body: Any, response: bool = False) -> list[str]:
    """What the closed 0.9.4 schema finds wrong with a message."""
    return [f"{error.json_path}: {error.message}" for error in _validator(path, response).iter_errors(body)]


class Bap:
    """A buyer with a server of its own for callbacks."""

    def __init__(self, behave=lambda count: 200, port=0) -> None:
        self.callbacks: list[tuple[str, dict[str, str], bytes]] = []
        self.key = Ed25519PrivateKey.generate()
        self._news = threading.Condition()
        buyer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["content-length"])
                raw = self.rfile.read(length)
                if len(raw) < length:  # the provider was killed while it spoke
                    return
                with buyer._news:
                    count = len(buyer.callbacks)
                    buyer.callbacks.append((self.path, {k.lower(): v for k, v in self.headers.items()}, raw))
                    buyer._news.notify_all()
                status = behave(count)
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    if status // 100 == 3:
                        self.send_header("location", f"http://127.0.0.1:{buyer.port}/elsewhere")
                    body = b'{"message":{"ack":{"status":"ACK"}}}'
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def public(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def message(self, verb: str, message: dict, /, **context: Any) -> dict[str, Any]:
        said = {
            "domain": "nic2004:energy:compute-flex",
            "country": "GB",
            "city": "std:080",
            "action": verb,
            "core_version": "1.0.0",
            "bap_id": "127.0.0.1",
            "bap_uri": f"http://127.0.0.1:{self.port}/beckn",
            "transaction_id": str(uuid.uuid4()),
            "message_id": str(uuid.uuid4()),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "ttl": "PT30S",
        }
        said = {name: value for name, value in {**said, **context}.items() if value is not None}
        return {"context": said, "message": message}

    def signed(
        self, body: bytes, created: int | None = None, expires: int | None = None, name: str = "127.0.0.1"
    ) -> str:
        created = int(time.time()) if created is None else created
        expires = created + 30 if expires is None else expires
        digest = base64.b64encode(hashlib.blake2b(body, digest_size=64).digest()).decode()
        text = f"(created): {created}\n(expires): {expires}\ndigest: BLAKE-512={digest}"
        signature = base64.b64encode(self.key.sign(text.encode())).decode()
        return (
            f'Signature keyId="{name}|k1|ed25519", algorithm="ed25519", created="{created}", expires="{expires}", '
            f'headers="(created) (expires) digest", signature="{signature}"'
        )

    def post(
        self,
        client: httpx.Client,
        body: dict[str, Any] | bytes,
        path: str | None = None,
        created: int | None = None,
    ) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = path or f"/{body['context']['action']}"
        headers = {"authorization": self.signed(raw, created), "content-type": "application/json"}
        return client.post(path, content=raw, headers=headers)

    def wait(self, count: int, seconds: float = 20.0) -> list[dict[str, Any]]:
        """The callbacks, once there are so many."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.callbacks) >= count, seconds), f"{len(self.callbacks)} came"
            return [json.loads(raw) for _, _, raw in self.callbacks]

    def verify(self, key: Ed25519PublicKey, count: int) -> None:
        """Our signature on a callback, over the bytes as they came; raises where it does not hold."""
        _, headers, raw = self.callbacks[count]
        said = dict(re.findall(r'(\w+)="([^"]*)"', headers["authorization"]))
        digest = base64.b64encode(hashlib.blake2b(raw, digest_size=64).digest()).decode()
        text = f"(created): {said['created']}\n(expires): {said['expires']}\ndigest: BLAKE-512={digest}"
        key.verify(base64.b64decode(said["signature"]), text.encode())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class RegistryServer:
    """A registry of one subscriber, which may be wrong about it and may take its time."""

    def __init__(self, row, thinks_s=0.0):
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                outer.asked += 1
                time.sleep(thinks_s)
                body = json.dumps([row] if isinstance(row, dict) else row).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def row_of(bap, **changes):
    row = {"subscriber_id": "127.0.0.1", "ukId": "k1", "signing_public_key": bap.public, "status": "SUBSCRIBED"}
    return {**row, **changes}
