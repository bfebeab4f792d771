"""Laws of the site's market gateway client, against a gateway that runs on this machine."""

import logging

import httpx
import pandas as pd
import pytest

from data.clients import gateway
from data.clients.gateway import Offer, TooMuchPower, at_gateway
from data.clients.wire import AnswerError
from tests.gateway_server import COUNTS, HASTY, INVENTORY, KEY, Market, open_market


@pytest.fixture
def market(monkeypatch):
    """A gateway, and the environment that leads to it."""
    found = Market()
    with open_market(found) as url:
        monkeypatch.setenv("MARKET_GATEWAY_URL", url + "/")
        monkeypatch.setenv("MARKET_GATEWAY_API_KEY", KEY)
        found.url = url
        yield found


def offered(order, **counts):
    return at_gateway(lambda client: client.offer(order, Offer(**counts)), HASTY)


def test_a_site_is_registered_and_told_its_key_and_power(market):
    assert gateway.register_site("GridPilot") == {"api_key": KEY, "name": "GridPilot", "power": 100_000}
    with pytest.raises(ValueError, match="empty"):
        gateway.register_site("")


def test_prices_come_oldest_first_in_utc_and_only_those_asked_for(market):
    table = gateway.get_prices()
    assert list(table.columns) == ["energy_price", "hash_price", "token_price"]
    assert table["energy_price"].tolist() == [0, 5, 10]
    assert table.index[0] == pd.Timestamp("2025-06-21T13:00Z")
    some = gateway.get_prices("2025-06-21T13:05:00Z", "2025-06-21T14:10:00+01:00")
    assert some["energy_price"].tolist() == [5], "from the start on, before the end"
    with pytest.raises(ValueError, match="no time zone"):
        gateway.get_prices("2025-06-21T13:05:00")


def test_no_prices_make_an_empty_table(market):
    market.prices = []
    assert gateway.get_prices().shape == (0, 3)


def test_the_inventory_is_handed_on(market):
    assert gateway.get_inventory() == INVENTORY


def test_an_offer_is_put_in_force_under_its_id_and_found_there(market):
    answer = offered("order-1", gpu_compute=2, hydro_miners=1)
    assert answer["gpu_compute"] == 2
    assert market.applied == [dict.fromkeys(COUNTS, 0) | {"gpu_compute": 2, "hydro_miners": 1}]
    assert market.puts()[0]["Idempotency-Key"] == "order-1"
    assert at_gateway(lambda client: client.in_force(Offer(gpu_compute=2, hydro_miners=1))) == answer
    assert at_gateway(lambda client: client.in_force(Offer(gpu_compute=2))) is None


def test_an_offer_is_tried_once_whatever_comes_of_it(market):
    market.after, market.before = [503], []
    with pytest.raises(httpx.HTTPStatusError):
        offered("order-1", gpu_compute=2)
    assert len(market.puts()) == 1


def test_an_answer_that_confirms_other_machines_is_no_confirmation(market, monkeypatch):
    monkeypatch.setattr(market, "answer", _confirming_one_less(market.answer))
    with pytest.raises(AnswerError, match="other machines"):
        offered("order-1", gpu_compute=2)


def _confirming_one_less(answer):
    def lying(method, path, body, headers):
        status, said = answer(method, path, body, headers)
        return status, said | {"gpu_compute": said["gpu_compute"] - 1} if method == "PUT" else said

    return lying


def test_more_power_than_the_site_has_is_refused_before_it_is_sent(market):
    offered("all", gpu_compute=30)  # 99.99 kW of 100
    with pytest.raises(TooMuchPower, match=r"needs 103\.323 kW and the site has 100 kW"):
        offered("more", gpu_compute=31)
    assert len(market.applied) == 1


def test_the_key_goes_only_where_it_is_needed_and_into_no_log_or_error(market, caplog):
    caplog.set_level(logging.DEBUG)
    gateway.get_prices()
    offered("order-1", gpu_compute=2)
    told = {path for _, path, headers in market.seen if headers.get("X-Api-Key") == KEY}
    assert told == {"/sites", "/machines"}
    assert KEY not in caplog.text
    market.power = None
    with pytest.raises(AnswerError, match="no power in watts for the site") as error:
        offered("order-2", gpu_compute=2)
    assert KEY not in str(error.value)


def test_without_a_key_or_an_address_the_error_says_which(market, monkeypatch):
    monkeypatch.delenv("MARKET_GATEWAY_API_KEY")
    with pytest.raises(AnswerError, match="401") as error:
        offered("order-1", gpu_compute=1)
    assert error.value.status == 401
    monkeypatch.delenv("MARKET_GATEWAY_URL")
    with pytest.raises(ValueError, match="MARKET_GATEWAY_URL"):
        gateway.get_prices()
