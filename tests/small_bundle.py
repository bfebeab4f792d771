"""The smallest bundle that serves: a battery that rests, or is ruled by an optimiser."""

from pathlib import Path

from agents.bundle import FORECASTER, write_bundle
from envs.battery import BatterySystem, observation_fields
from forecasting.deviation import DeviationForecaster
from forecasting.saved import save
from models.battery import Battery
from models.settlement import Adders

BATTERY = Battery(capacity_kwh=800.0, max_charge_kw=200.0, max_discharge_kw=300.0, min_fraction=0.1)


def write_small_bundle(folder: Path, kind: str = "mpc", minutes: int = 30) -> Path:
    """Write it into an empty folder."""
    forecaster = DeviationForecaster((0.7, 0.5, 0.3))
    manifest = {
        "name": kind,
        "policy": kind,
        "env": "gridpilot/Battery-v0",
        "observation_fields": [f.name for f in observation_fields(minutes)],
        "action_fields": [f.name for f in BatterySystem.action_fields],
        "system": {"battery": BATTERY._asdict(), "adders": Adders()._asdict()},
        "forecaster": {"column": forecaster.column, "sha256": save(forecaster, folder / FORECASTER)},
        "scores": {},
        "settings": {},
    }
    return write_bundle(folder, manifest, None)
