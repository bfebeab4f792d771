"""From what a site's observations show, and have shown in this episode, to the state and expectations of a plan."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.calendar_ahead import CalendarAhead, hour_of, same_day
from baselines.site_memory import Arrivals, Blocks, Metered, Tenants
from baselines.site_plan import Outlook
from baselines.site_planner import SitePlanner
from data.arrivals import ExpectedJobs, weekly_rhythm
from data.schema import PERIOD_H
from envs.fields import FloatArray, position, positions
from envs.information import FORECAST_PERIODS, FORECAST_PREFIX
from envs.outlook import CARBON_FIELDS, WET_BULB_FIELDS
from envs.site import SiteSystem
from envs.site_view import COMMITTED_LEADS, WANTED_LEADS
from models.hall import HallState
from models.site import GATE_PERIODS

Floats = NDArray[np.float64]

NAMES: Final = (
    "charge_fraction", "hours_left_h", "mass_c", "air_c", "supply_c", "it_kw", "grid_kw", "free_kw", "waiting_kw",
    "first_due_h", "tenant_kw", "sellable_kw", "block_starts", "paid_gbp_per_kw", "sold_now_kw", "sold_next_kw",
    "cap_gbp_per_mwh", "hour_sin", "hour_cos", "weekend",
)  # fmt: skip
DUE_SHARE: Final = 0.5  # of the power that waits, once the first job is overdue: how much more is, is not shown
LEAST_SHARE: Final = 0.05  # of an offer that sells: keeps what is offered in proportion to what is meant to be sold


class Expectations(NamedTuple):
    """What the parameters of a site do not say and its observations do not show.

    Attributes:
        load_fraction: Mean load of jobs over the cluster.
        tenant_gbp_per_kw: What a kW brings in an auction, until results say otherwise.
        tenant_share: Share of the offered capacity that sells, until results say otherwise.
        tenant_learning: Weight of a new result.
        flexibility_gbp_per_mwh: Clearing price of flexibility, if the DSO's cap is not lower; results never show it.
        delivery_margin_kw: Load that may come between an offer and its delivery.
    """

    load_fraction: float = 0.55
    tenant_gbp_per_kw: float = 0.55
    tenant_share: float = 0.8
    tenant_learning: float = 0.15
    flexibility_gbp_per_mwh: float = 170.0
    delivery_margin_kw: float = 20.0


class SiteReader:
    """Reads a site's observations in order, one a period, and remembers what a plan needs.

    Attributes:
        today: Which periods ahead of the observation last read belong to its local day, shape (horizon,).
        settled: Which of them the episode settles, shape (horizon,).
    """

    def __init__(
        self, system: SiteSystem, planner: SitePlanner, jobs: ExpectedJobs, expectations: Expectations
    ) -> None:
        """Begin an episode.

        Args:
            system: The site, for its parameters and the layout of its observation.
            planner: Whom the outlooks are for.
            jobs: What jobs are like.
            expectations: What nobody shows.
        """
        self._site, self._planner, self._jobs, self._expect = system.site, planner, jobs, expectations
        fields = system.observation_fields
        self._at = {name: position(fields, name) for name in NAMES}
        self._price = positions(fields, FORECAST_PREFIX)
        self._carbon = positions(fields, CARBON_FIELDS[1].name.removesuffix("00"))
        self._wet_bulb = positions(fields, WET_BULB_FIELDS[1].name.removesuffix("00"))
        self._committed, self._wanted = positions(fields, "committed_kw_"), positions(fields, "wanted_kw_")
        self._calendar, self._blocks = CalendarAhead(), Blocks()
        self._tenants = Tenants(expectations.tenant_gbp_per_kw, expectations.tenant_share, expectations.tenant_learning)
        self._arrivals = Arrivals(jobs)
        self._metered = Metered(system.site.baseline, system.expected_kw)
        self.today = self.settled = np.zeros(planner.horizon, dtype=np.bool_)

    def scalars(self, observation: FloatArray) -> dict[str, float]:
        """The single fields of an observation by name."""
        return {name: float(observation[i]) for name, i in self._at.items()}

    def offered(self, seen: dict[str, float], offered_kw: float) -> None:
        """Remember what was offered to tenants, to learn from its result."""
        self._tenants.offered(hour_of(seen["hour_sin"], seen["hour_cos"]), seen["weekend"] > 0.5, offered_kw)

    def read(self, observation: FloatArray, price_gbp_per_mwh: Floats | None = None) -> Outlook:
        """Take note of an observation and look ahead from it; to be called once a period.

        Args:
            observation: The site's.
            price_gbp_per_mwh: What to expect of the imbalance price in place of the forecast shown, shape (48,).
        """
        seen, n, site = self.scalars(observation), self._planner.horizon, self._site
        self._calendar.see(hour_of(seen["hour_sin"], seen["hour_cos"]), seen["weekend"] > 0.5)
        self._tenants.see(seen["tenant_kw"], seen["paid_gbp_per_kw"])
        self._metered.see(seen["grid_kw"], seen["sold_now_kw"])
        to_auction = self._blocks.see(seen["block_starts"] > 0.5)
        hours, weekends = self._calendar.ahead(n)
        committed_kw = observation[self._committed].astype(np.float64)
        arriving_kw, level_sd = self._expected_arrivals(seen, hours, weekends, committed_kw[0])
        paid, share = self._tenants.expected(hours, weekends)

        self.today = same_day(hours)
        shown = observation[self._price] if price_gbp_per_mwh is None else price_gbp_per_mwh

        def ahead(where: slice) -> Floats:
            return _repeated(observation[where], n)

        price = _repeated(shown, n) + site.adders.carbon_gbp_per_tonne * ahead(self._carbon) / 1000.0
        left = round(seen["hours_left_h"] / PERIOD_H)
        # Beyond the end of the episode nothing is settled: energy there is worth what the end values it at.
        end_price = float(price[: min(max(left, 1), FORECAST_PERIODS)].mean())
        self.settled = (np.arange(n) < left) | (left >= FORECAST_PERIODS)
        price = np.where(self.settled, price, end_price)
        due_kw = DUE_SHARE * seen["waiting_kw"] if seen["first_due_h"] <= 0.0 else 0.0
        foreseen = np.minimum(np.arange(WANTED_LEADS) / GATE_PERIODS, 1.0)  # this period's load is known but for starts
        turn_down_price = min(seen["cap_gbp_per_mwh"], self._expect.flexibility_gbp_per_mwh)
        return Outlook(
            energy_kwh=seen["charge_fraction"] * site.battery.capacity_kwh,
            hall=HallState(seen["mass_c"], seen["air_c"], seen["supply_c"]),
            committed_kw=_by_period(committed_kw, n),
            waiting_kw=seen["waiting_kw"] - due_kw,
            due_kw=due_kw,
            arriving_kw=arriving_kw,
            level_sd=level_sd,
            tenant_kw=seen["tenant_kw"],
            to_auction=to_auction,
            sellable_kw=seen["sellable_kw"],
            paid_gbp_per_kw=paid,
            sold_share=np.maximum(share, LEAST_SHARE),
            sold_kw=(seen["sold_now_kw"], seen["sold_next_kw"]),
            wanted_kw=observation[self._wanted].astype(np.float64),
            deliverable_kw=self._metered.ahead(WANTED_LEADS) - self._expect.delivery_margin_kw * foreseen,
            flexibility_gbp_per_mwh=np.full(WANTED_LEADS, turn_down_price),
            wet_bulb_c=ahead(self._wet_bulb),
            import_gbp_per_mwh=price,
            end_gbp_per_mwh=end_price,
            stored_gbp_per_mwh=end_price * site.battery.discharge_efficiency,
        )

    def _expected_arrivals(
        self, seen: dict[str, float], hours: Floats, weekends: NDArray[np.bool_], committed_kw: float
    ) -> tuple[Floats, Floats]:
        """Power of the jobs that will arrive, and the relative spread of its level, each of the horizon's shape."""
        usual_kw = self._jobs.arriving_kw * weekly_rhythm(hours, weekends)
        compute = self._planner.compute
        running_kw = self._planner.capacity_kw - seen["tenant_kw"] - seen["free_kw"]
        if seen["free_kw"] <= 0.0:  # nothing may start behind a job that is due: what runs is read off the promises
            running_kw = min(running_kw, committed_kw / (1.0 - 0.5 / self._jobs.still_running.sum()))
        ran_kw = max(seen["it_kw"] - compute.idle_kw, 0.0) / compute.added_fraction - seen["tenant_kw"]
        promised_kw = 2.0 * committed_kw - running_kw  # what is shown is the mean of this period and the next
        self._arrivals.see(seen["waiting_kw"], running_kw, promised_kw, ran_kw, usual_kw[0], hours[0] == 0.0)
        level, level_sd = self._arrivals.ahead(same_day(hours))
        return level * usual_kw, level_sd


def _repeated(values: FloatArray | Floats, horizon: int) -> Floats:
    """Beyond the forecast day the same day again."""
    return np.resize(values.astype(np.float64), horizon)


def _by_period(means_kw: Floats, horizon: int) -> Floats:
    """Promised power in every period from its means over the bins; nothing is promised beyond them."""
    edges = np.array(COMMITTED_LEADS)
    centres = 0.5 * (edges[:-1] + edges[1:] - 1)
    return np.interp(np.arange(horizon), [*centres, edges[-1]], [*means_kw, 0.0])
