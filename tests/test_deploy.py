"""What is deployed and what is documented name the settings that there are."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

from server.settings import PREFIX, Settings
from server.tokens import Right

ROOT = Path(__file__).parents[1]
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
OTHERS = {"GRIDPILOT_DOMAIN", "GRIDPILOT_UPSTREAM", "GRIDPILOT_BUNDLE"}  # of the proxy and the compose file


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml", "gridpilot.service", "Caddyfile"])
def test_no_file_names_a_setting_that_there_is_not(file):
    named = set(re.findall(r"GRIDPILOT_[A-Z_]+", (ROOT / "deploy" / file).read_text()))
    assert named <= SETTINGS | OTHERS


def test_every_setting_and_scope_is_documented():
    page = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"GRIDPILOT_[A-Z_]+", page)) >= SETTINGS
    assert all(f"`{right}`" in page for right in Right)


def test_the_composed_dispatcher_gets_every_secret_it_is_given_and_no_port_of_its_own():
    composed = yaml.safe_load((ROOT / "deploy" / "docker-compose.yml").read_text())
    api, proxy = composed["services"]["api"], composed["services"]["proxy"]
    assert {secret["source"] for secret in api["secrets"]} <= set(composed["secrets"])
    assert "ports" not in api
    assert "ports" not in composed["services"]["db"]
    (subnet,) = composed["networks"]["inside"]["ipam"]["config"]
    assert f"trusted_proxies={subnet['subnet']}" in api["command"]
    assert set(proxy["networks"]) == {"inside", "outside"}


def test_the_unit_keeps_state_where_it_may_write():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    text = (ROOT / "deploy" / "gridpilot.service").read_text()
    unit.read_string(text)
    state = f"/var/lib/{unit['Service']['StateDirectory']}"
    written = re.findall(r"sqlite:///(\S+)|NUMBA_CACHE_DIR=(\S+)", text)
    assert written
    assert all((database or cache).startswith(state) for database, cache in written)
