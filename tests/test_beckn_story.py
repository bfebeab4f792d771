"""From search to the paid statement on one simulated day, through real processes; and what survives being killed."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.beckn import kills
from tests.bap import Bap, RegistryServer, faults, row_of

ROOT = Path(__file__).parent.parent
NOON = datetime(2024, 2, 13, 12, 0, tzinfo=UTC)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Town:
    """The provider in a process of its own at another time, a registry, and a buyer who lives at that time too."""

    def __init__(self, folder):
        self.bap, self.key, self._port = Bap(), Ed25519PrivateKey.generate(), free_port()
        self._registry = RegistryServer(row_of(self.bap))
        self._offset = folder / "offset"
        self.travel(NOON)
        self.environment = {
            **os.environ,
            "GRIDPILOT_DATABASE_URL": f"sqlite:///{folder / 'state.db'}",
            "BPP_SIGNING_KEY": base64.b64encode(self.key.private_bytes_raw()).decode(),
            "BPP_REGISTRY_URL": self._registry.url,
            "BPP_CALLBACKS_ALLOWED": f"127.0.0.1:{self.bap.port}",
            "BPP_BASELINE": "10_of_10",
        }
        command = [sys.executable, "-m", "tests.bpp_process", str(self._port), str(self._offset)]
        self._process = subprocess.Popen(command, cwd=ROOT, env=self.environment)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=30.0)
        until = time.monotonic() + 60.0
        while True:
            try:
                assert self.client.get("/health/live").status_code == 200
                return
            except httpx.TransportError:
                assert self._process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.1)

    def travel(self, to):
        self._ahead = to - datetime.now(UTC)
        self._offset.write_text(str(self._ahead.total_seconds()))

    @property
    def now(self):
        return datetime.now(UTC) + self._ahead

    def ask(self, action, message, **context):
        """One exchange, in the schema's closed form on the way back, signed both ways."""
        count = len(self.bap.callbacks)
        at = self.now
        body = self.bap.message(action, message, timestamp=at.isoformat(), **context)
        answer = self.bap.post(self.client, body, created=int(at.timestamp()))
        assert answer.json() == {"message": {"ack": {"status": "ACK"}}}, answer.text
        callback = self.bap.wait(count + 1)[count]
        assert faults(f"/on_{action}", callback) == []
        self.bap.verify(self.key.public_key(), count)
        return callback["message"]

    def main(self, *arguments, code=0):
        done = subprocess.run(
            [sys.executable, "main.py", *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def close(self):
        self.client.close()
        self._process.kill()
        self._process.wait()
        self.bap.close()
        self._registry.close()


@pytest.fixture
def town(tmp_path):
    town = Town(tmp_path)
    yield town
    town.close()


def test_the_whole_story_from_search_to_the_paid_statement(town, tmp_path):
    deal = {"transaction_id": "deal-1"}
    wanted = {"fulfillment": {"start": {"time": {"range": {"start": NOON.isoformat(), "end": "2024-02-14T00:00:00Z"}}}}}
    catalog = town.ask("search", {"intent": {**wanted, "tags": {"power_kw": "190"}}}, **deal)["catalog"]
    item = catalog["bpp/providers"][0]["items"][0]
    power_kw = float(item["tags"]["power_kw"])
    asked = {"order": {"items": [{"id": item["id"]}], "billing": {"name": "Grid operator", "phone": "+44-20-1"}}}
    town.ask("select", asked, **deal)
    quote = town.ask("init", asked, **deal)["order"]["quote"]
    confirmed = town.ask("confirm", asked, **deal)["order"]
    assert confirmed["state"] == "CONFIRMED"
    window = confirmed["fulfillment"]["start"]["time"]["range"]
    start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
    assert NOON + timedelta(hours=1) < start < end

    town.travel(end + timedelta(hours=1))
    # Eleven plain days at 8 MW; on the day the cluster draws that much less, but half of it in the first half-hour.
    first, count = start - timedelta(days=11), (end - start + timedelta(days=11)) // timedelta(minutes=30)
    lines = ["cluster_id,start,kwh"]
    for i in range(count):
        at = first + i * timedelta(minutes=30)
        down = 0.0 if at < start else power_kw if at > start else power_kw / 2.0
        lines.append(f"hpc-1,{at.isoformat()},{(8000.0 - down) / 2.0}")
    file = tmp_path / "meter.csv"
    file.write_text("\n".join(lines))
    done = town.main("orders", "meter", str(file))
    assert f"{count} new, 0 restated, 0 known; 1 statements made" in done
    assert "0 new, 0 restated" in town.main("orders", "meter", str(file))

    order = town.ask("status", {"order_id": confirmed["id"]}, **deal)["order"]
    tags, halves = order["fulfillment"]["tags"], (end - start) // timedelta(minutes=30)
    delivered = Decimal(str(power_kw)) / 2000 * (halves - 1) + Decimal(str(power_kw)) / 4000
    assert order["state"] == "COMPLETED"
    assert tags["settlement_status"] == "settled"
    assert abs(Decimal(tags["delivered_mwh"]) - delivered) <= Decimal("0.0001") * halves
    payable = Decimal(tags["payable_gbp"])
    assert abs(payable - delivered * Decimal(item["price"]["value"])) < Decimal("0.02") * halves
    assert payable < Decimal(quote["price"]["value"])
    assert order["payment"]["status"] == "NOT-PAID"

    town.main("orders", "paid", order["id"], tags["payable_gbp"], "bank-1")
    assert town.ask("status", {"order_id": order["id"]}, **deal)["order"]["payment"] == {
        "type": "POST-FULFILLMENT",
        "status": "PAID",
        "params": {"amount": tags["payable_gbp"], "currency": "GBP"},
    }
    (line,) = json.loads(town.main("orders", "--as", "json"))["orders"]
    assert (line["state"], line["payable_gbp"], line["received_gbp"]) == ("completed", str(payable), str(payable))
    page, export = tmp_path / "order.html", tmp_path / "order.csv"
    town.main("orders", "show", order["id"], "--page", str(page), "--export", str(export))
    assert f"£{payable}" in page.read_text()
    assert len(export.read_text().splitlines()) == halves + 1
    assert town.main("orders", "verify") == "0 faults\n"
    assert "0 faults" in town.main("audit", "verify")


def test_a_provider_killed_again_and_again_loses_no_commitment_and_makes_none_twice(tmp_path):
    count = kills(tmp_path, 4, seed=1)
    assert count.acknowledged == count.answered == count.confirmed_once
    assert (count.lost, count.doubled, count.faults) == (0, 0, 0)
    assert count.acknowledged > 0
