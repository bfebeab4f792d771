"""What is offered to a market beside the battery: machines, as many as its set-point leaves power for.

While the battery charges, less of the site's power is left for them; while it discharges, no more than without it (see
`dispatch.payloads`).
"""

from typing import Any, NamedTuple

from dispatch.payloads import MACHINES, build_payload


class Offering(NamedTuple):
    """What the operator wants to run beside the battery.

    Attributes:
        site_power_kw: Highest import of the site.
        cooling_kw: Power of the cooling plant.
        air_miners: Machines of that type; so are the other counts.
    """

    site_power_kw: float = 1000.0
    cooling_kw: float = 0.0
    air_miners: int = 0
    hydro_miners: int = 0
    immersion_miners: int = 0
    gpu_compute: int = 0
    asic_compute: int = 0

    def beside(self, power_kw: float, inventory: dict[str, Any]) -> dict[str, int]:
        """Machines to offer while the battery takes a power, charging positive; see `build_payload` for errors."""
        room_kw = max(self.site_power_kw - max(power_kw, 0.0), 0.0)
        wanted = {name: getattr(self, name) for name in MACHINES}
        bid: dict[str, int] = build_payload(wanted, inventory, 0.0, self.cooling_kw, room_kw)["bid"]
        return bid
