"""What a plan of the whole site starts from, and what it says."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.hall import HallState

Floats = NDArray[np.float64]


class Prices(NamedTuple):
    """What a planner is told to reckon with beyond what the site's own parameters say.

    Attributes:
        late_gbp_per_kwh: Of due work that waits.
        waiting_gbp_per_kwh: Of work that waits and is not due.
        crowding_gbp_per_kwh: Of load that may not fit.
        inlet_margin_k: Kept from the recommended inlet, for the load that turns out higher.
    """

    late_gbp_per_kwh: float = 0.25
    waiting_gbp_per_kwh: float = 0.01
    crowding_gbp_per_kwh: float = 0.1
    inlet_margin_k: float = 0.6


class Outlook(NamedTuple):
    """State and expectations at the start of a plan; arrays have shape (horizon,) if nothing else is said.

    Attributes:
        energy_kwh: In the battery.
        hall: Temperatures.
        committed_kw: Promised to running jobs.
        waiting_kw: Of jobs that wait and are not due.
        due_kw: Of jobs that wait and are due.
        arriving_kw: Power of the jobs expected to arrive.
        level_sd: Standard deviation of their level over its mean.
        tenant_kw: Sold for the running block.
        to_auction: Periods until the next auction.
        sellable_kw: Most that can be sold now.
        paid_gbp_per_kw: Expected of an auction held in a period.
        sold_share: Of the offered capacity, expected.
        sold_kw: Flexibility to deliver now and in the next period.
        wanted_kw: Flexibility wanted, shape (leads,).
        deliverable_kw: Baseline less a margin, shape (leads,).
        flexibility_gbp_per_mwh: Expected price of it, shape (leads,).
        wet_bulb_c: Expected.
        import_gbp_per_mwh: What a MWh of net import costs, carbon included.
        end_gbp_per_mwh: The same of energy after the horizon.
        stored_gbp_per_mwh: Worth of a MWh in the battery at the end.
    """

    energy_kwh: float
    hall: HallState
    committed_kw: Floats
    waiting_kw: float
    due_kw: float
    arriving_kw: Floats
    level_sd: Floats
    tenant_kw: float
    to_auction: int
    sellable_kw: float
    paid_gbp_per_kw: Floats
    sold_share: Floats
    sold_kw: tuple[float, float]
    wanted_kw: Floats
    deliverable_kw: Floats
    flexibility_gbp_per_mwh: Floats
    wet_bulb_c: Floats
    import_gbp_per_mwh: Floats
    end_gbp_per_mwh: float
    stored_gbp_per_mwh: float


class Plan(NamedTuple):
    """What a site is to do, one value a period, shape (horizon,) but for `turn_down_kw` (leads,).

    Attributes:
        power_kw: Of the battery, charging positive.
        energy_kwh: In the battery at the end of each period.
        start_kw: Power of jobs started.
        running_kw: Of all running jobs.
        tenant_kw: Capacity sold.
        offered_kw: Capacity to offer in an auction of that period, for as much to sell as is meant to.
        it_kw: IT power.
        setpoint_c: Supply set-point.
        fan_fraction: Fan speed.
        mass_c: Thermal mass at the end of each period.
        cooling_kw: Electricity of the plant.
        grid_kw: Import.
        turn_down_kw: Flexibility sold or to be offered.
    """

    power_kw: Floats
    energy_kwh: Floats
    start_kw: Floats
    running_kw: Floats
    tenant_kw: Floats
    offered_kw: Floats
    it_kw: Floats
    setpoint_c: Floats
    fan_fraction: Floats
    mass_c: Floats
    cooling_kw: Floats
    grid_kw: Floats
    turn_down_kw: Floats

    def later(self) -> "Plan":
        """The plan one period on, its last period repeated."""
        return Plan(*(np.append(values[1:], values[-1]) for values in self))
