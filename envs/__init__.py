"""Gymnasium environments; importing this package registers them under `gridpilot/`."""

from typing import Final

from gymnasium.envs.registration import register

SYSTEMS: Final = {
    "gridpilot/Battery-v0": "envs.battery:BatterySystem",
    "gridpilot/JobQueue-v0": "envs.job_queue:JobQueueSystem",
}

for _name, _system in SYSTEMS.items():
    register(
        id=_name,
        entry_point="envs.make:single",
        vector_entry_point="envs.make:vector",
        kwargs={"system": _system},
    )
