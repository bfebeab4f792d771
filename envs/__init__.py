"""Gymnasium environments; importing this package registers them under `gridpilot/`."""

from typing import Final

from gymnasium.envs.registration import register

SYSTEMS: Final = {
    "gridpilot/Auction-v0": "envs.auction:AuctionSystem",
    "gridpilot/Battery-v0": "envs.battery:BatterySystem",
    "gridpilot/Cooling-v0": "envs.cooling:CoolingSystem",
    "gridpilot/JobQueue-v0": "envs.job_queue:JobQueueSystem",
    "gridpilot/Market-v0": "envs.market:MarketSystem",
    "gridpilot/Site-v0": "envs.site:SiteSystem",
}

for _name, _system in SYSTEMS.items():
    register(
        id=_name,
        entry_point="envs.make:single",
        vector_entry_point="envs.make:vector",
        kwargs={"system": _system},
    )
