"""Compute capacity sold to tenants by auction, block by block: `gridpilot/Auction-v0`."""

from typing import Final

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.flexibility import FlexibilityMarket, FlexibilitySource
from data.schema import PERIOD_H, PERIODS_PER_DAY
from data.tenants import BLOCK_PERIODS, RESOLUTION_KW, Tenants, TenantSource
from envs import information
from envs.episodes import EpisodeSystem
from envs.fields import Field, FloatArray, copy_row, position, positions
from envs.market import sell_turn_down
from envs.scenario import Market, Scenario, default_scenario
from envs.system import Lanes
from models import cluster as cluster_model
from models import vcg
from models.cluster import Cluster
from models.compiling import KERNEL, LOOP
from models.settlement import CARBON_PRICED, Adders, adders_gbp, checked_adders, energy_gbp
from models.vcg import Room

RESULTS: Final = PERIODS_PER_DAY // BLOCK_PERIODS  # past auctions that the seller remembers: a day of them
LANE: Final = np.dtype(
    [
        ("period", np.int64),  # row of the history that is decided next
        ("stop", np.int64),  # row at which the episode ends
        ("sold_kw", np.float64),  # running for tenants until the next auction
        ("paid_gbp_per_kw", np.float64, RESULTS),  # past results, the newest first
        ("sold_fraction", np.float64, RESULTS),
        ("tenant_kw", np.float64),  # of the last period, as all that follows
        ("turned_down_kw", np.float64),
        ("flexibility_gbp_per_mwh", np.float64),
    ],
    align=True,
)
TERMS: Final = ("auction", "imbalance", "network", "carbon", "flexibility", "end_value")
HORIZON_H: Final = 24.0
MAX_RESERVE_GBP_PER_KW: Final = 1.5
COST_BOUND_GBP_PER_KW: Final = 50.0
FORECAST: Final = positions(information.FIELDS, information.FORECAST_PREFIX).start

OWN_FIELDS: Final = (
    Field("hours_left_h", 0.0, HORIZON_H, "time until the episode ends, at most 24 h"),
    Field("hours_to_auction_h", 0.0, BLOCK_PERIODS * PERIOD_H, "time until the next auction; 0 if it is held now"),
    Field("sold_kw", 0.0, 1e6, "capacity running for tenants until then; 0 if it is held now"),
    Field(
        "energy_cost_gbp_per_kw",
        -COST_BOUND_GBP_PER_KW,
        COST_BOUND_GBP_PER_KW,
        "forecast cost of a kW that runs for the whole block auctioned next, adders included",
    ),
    Field(
        "flexibility_gbp_per_kw",
        0.0,
        COST_BOUND_GBP_PER_KW,
        "most that a kW not sold in that block can earn: the published caps of its wanted periods",
    ),
    *(
        Field(f"paid_gbp_per_kw_{k:02d}", 0.0, 1e5, f"mean payment for a kW sold {k + 1} auctions ago")
        for k in range(RESULTS)
    ),
    *(
        Field(f"sold_fraction_{k:02d}", 0.0, 1.0, f"share of the offered capacity that was sold {k + 1} auctions ago")
        for k in range(RESULTS)
    ),
)


class AuctionSystem(EpisodeSystem):
    """A cluster whose capacity is sold to tenants by a Vickrey-Clarke-Groves auction at the start of every block.

    A block is eight half-hours. At its start the policy offers capacity at a reserve price; tenants' sealed bids are
    allocated exactly, they pay at once, and what was sold runs for the whole block: its energy is bought, without a
    day-ahead position, at imbalance prices that nobody knows yet. Between auctions an action changes nothing. The
    policy sees results of past auctions only, never a bid. Asking for nothing (NaN in either field) sells nothing.

    Capacity that is not sold runs the site's own deferrable work, taken to be worth what its energy costs, so neither
    is counted. When the DSO wants a turn-down this work pauses, and the pause is offered at no price in the DSO's
    auction against rivals: it earns the uniform clearing price. Tenants never pause, so selling a kW for a block with
    an event costs that income; events are published a day ahead.

    When an episode ends within a block, the energy still owed to tenants is paid for at the mean day-ahead price of
    the last 24 hours, adders and the carbon intensity of the last period included. One that starts within a block
    starts with nothing sold. The results shown at first are those of the day before, everything offered at no reserve.
    """

    observation_fields = (*OWN_FIELDS, *information.FIELDS)
    action_fields: tuple[Field, ...]
    terms = TERMS
    lane = LANE

    def __init__(
        self,
        scenario: Scenario | None = None,
        cluster: Cluster | None = None,
        tenants: TenantSource | None = None,
        flexibility: FlexibilitySource | None = None,
        adders: Adders | None = None,
    ) -> None:
        """Put a cluster between its tenants and the grid.

        Args:
            scenario: Where episodes come from; the synthetic training split by weeks if not given.
            cluster: The cluster whose capacity is sold; the default site's if not given.
            tenants: Where bids come from; the seeded generator if not given.
            flexibility: Where the DSO's wishes and rivals come from; the seeded generator if not given.
            adders: Costs beside the market price; a carbon price of 60 GBP per tonne if not given.

        Raises:
            ValueError: If a parameter is out of range.
        """
        self.scenario = scenario or default_scenario()
        self.capacity_kw = cluster_model.job_capacity_kw(cluster_model.checked(cluster or Cluster()))
        self.adders = checked_adders(adders or CARBON_PRICED)
        self._sources = (tenants or TenantSource(), flexibility or FlexibilitySource())
        self.tenants = self._sources[0].tenants(self.scenario.timestamps, self.capacity_kw)
        self._room = vcg.room(self.tenants.quantity_kw.shape[1], self.capacity_kw, RESOLUTION_KW)
        self.flexibility = self._sources[1].market(self.scenario.timestamps)
        self._expected = _expected_gbp_per_kw(self.scenario, self.flexibility, self.adders)
        self.action_fields = (
            Field("offered_kw", 0.0, self.capacity_kw, "capacity offered to tenants for the block that starts now"),
            Field("reserve_gbp_per_kw", 0.0, MAX_RESERVE_GBP_PER_KW, "least that a kW is sold for, for the block"),
        )

    def begin(self, lane: np.void) -> None:
        """Put the results of the day before at hand; see `envs.episodes.EpisodeSystem`."""
        _remember_the_day_before(self.tenants, self.capacity_kw, self._room, lane)

    def observe(self, lanes: Lanes, observations: FloatArray) -> None:
        """Write each lane's observation; see `envs.system.System`."""
        _observe_lanes(self._expected, self.scenario.history.price_information, lanes, observations)

    def step(
        self,
        lanes: Lanes,
        actions: FloatArray,
        terms: NDArray[np.float64],
        over: NDArray[np.bool_],
        observations: FloatArray,
    ) -> None:
        """Advance each lane by half an hour; see `envs.system.System`."""
        _step_lanes(
            self.capacity_kw, self.adders, self.tenants, self.flexibility, self.scenario.market,
            self._expected, self.scenario.history.price_information, self._room,
            lanes, actions, terms, over, observations,
        )  # fmt: skip

    def parameters(self) -> dict[str, dict[str, float]]:
        """Capacity, sources and adders; see `envs.system.System`."""
        return {
            "capacity": {"capacity_kw": self.capacity_kw},
            "tenants": self._sources[0]._asdict(),
            "flexibility": self._sources[1]._asdict(),
            "adders": self.adders._asdict(),
        }

    def feasible(self, lanes: Lanes) -> tuple[FloatArray, FloatArray]:
        """All bounds at the start of a block, nothing but 0 between; see `envs.system.System`."""
        low, high = super().feasible(lanes)
        high[lanes["period"] % BLOCK_PERIODS != 0] = 0.0
        return low, high

    def telemetry(self, lane: np.void) -> dict[str, float]:
        """Power sold to tenants and to the DSO in the last period, the newest auction's result, and prices."""
        last, market = lane["period"] - 1, self.scenario.market
        return {
            "grid_kw": float(lane["tenant_kw"]),
            "turned_down_kw": float(lane["turned_down_kw"]),
            "wanted_kw": float(self.flexibility.wanted_kw[last]),
            "paid_gbp_per_kw": float(lane["paid_gbp_per_kw"][0]),
            "sold_fraction": float(lane["sold_fraction"][0]),
            "imbalance_price_gbp_per_mwh": float(market.imbalance_price_gbp_per_mwh[last]),
            "flexibility_price_gbp_per_mwh": float(lane["flexibility_gbp_per_mwh"]),
        }

    def held_gbp(self, observations: FloatArray) -> NDArray[np.float64]:
        """Energy owed to tenants at the mean forecast price, (lanes, fields) to (lanes,)."""
        sold_kw = observations[:, position(OWN_FIELDS, "sold_kw")].astype(np.float64)
        owed_h = observations[:, position(OWN_FIELDS, "hours_to_auction_h")]
        forecast = observations[:, positions(self.observation_fields, information.FORECAST_PREFIX)]
        return -sold_kw * owed_h * forecast.mean(axis=1, dtype=np.float64) / 1000.0

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """Power sold to tenants and to the DSO under the prices they met, for the last two days."""
        from envs.picture import auction_panels, figure_to_rgb  # plotting loads only when somebody looks

        return figure_to_rgb(auction_panels(log))


def _expected_gbp_per_kw(scenario: Scenario, flexibility: FlexibilityMarket, adders: Adders) -> NDArray[np.float64]:
    """What a kW costs if sold and can earn if not, over the block auctioned next: shape (n + 1, 2).

    Row t uses what is published at t: forecasts made then, and the DSO's wishes up to 15 periods ahead.
    """
    history = scenario.history
    n = len(scenario.timestamps)
    price = history.price_information[:, FORECAST : FORECAST + information.FORECAST_PERIODS].astype(np.float64)
    carbon = history.carbon_outlook[:, 1:].astype(np.float64)
    cost = price + adders.network_gbp_per_mwh + adders.carbon_gbp_per_tonne * carbon / 1000.0
    kw_gbp = PERIOD_H / 1000.0
    earned_before = np.concatenate(
        [[0.0], np.cumsum(np.where(flexibility.wanted_kw > 0.0, flexibility.cap_gbp_per_mwh, 0.0))]
    )
    expected = np.empty((n + 1, 2))
    row = np.arange(n + 1)
    lead = -row % BLOCK_PERIODS
    for k in range(BLOCK_PERIODS):
        chosen = lead == k
        expected[chosen, 0] = cost[chosen, k : k + BLOCK_PERIODS].sum(axis=1) * kw_gbp
    first, stop = np.minimum(row + lead, n), np.minimum(row + lead + BLOCK_PERIODS, n)
    expected[:, 1] = (earned_before[stop] - earned_before[first]) * kw_gbp
    return np.clip(expected, [-COST_BOUND_GBP_PER_KW, 0.0], COST_BOUND_GBP_PER_KW)


@njit(**KERNEL)
def _sell(
    tenants: Tenants, block: int, offered_kw: float, reserve_gbp_per_kw: float, room: Room, lane: np.void
) -> float:
    """Hold one auction: set what runs for tenants, remember the result, return the payments, GBP."""
    vcg.allocate(
        tenants.value_gbp_per_kw[block], tenants.quantity_kw[block], tenants.divisible[block],
        offered_kw, reserve_gbp_per_kw, RESOLUTION_KW, room,
    )  # fmt: skip
    sold_kw, paid_gbp = room.allocation_kw.sum(), room.payment_gbp.sum()
    paid, sold = lane["paid_gbp_per_kw"], lane["sold_fraction"]
    for k in range(RESULTS - 1, 0, -1):
        paid[k], sold[k] = paid[k - 1], sold[k - 1]
    paid[0] = paid_gbp / sold_kw if sold_kw > 0.0 else 0.0
    sold[0] = min(sold_kw / offered_kw, 1.0) if sold_kw > 0.0 else 0.0
    lane["sold_kw"] = sold_kw
    return paid_gbp


@njit(**LOOP)
def _remember_the_day_before(tenants: Tenants, capacity_kw: float, room: Room, lane: np.void) -> None:
    """Results of the day before the episode, or what the history holds of it; nothing of it is paid or served."""
    next_block = -(-lane["period"] // BLOCK_PERIODS)
    for block in range(max(next_block - RESULTS, 0), next_block):
        _sell(tenants, block, capacity_kw, 0.0, room, lane)
    lane["sold_kw"] = 0.0


@njit(**LOOP)
def _step_lanes(
    capacity_kw: float,
    adders: Adders,
    tenants: Tenants,
    flexibility: FlexibilityMarket,
    market: Market,
    expected: np.ndarray,
    shown: np.ndarray,
    room: Room,
    lanes: np.ndarray,
    actions: np.ndarray,
    terms: np.ndarray,
    over: np.ndarray,
    observations: np.ndarray,
) -> None:
    for i in range(lanes.size):
        lane = lanes[i]
        t = lane["period"]
        terms[i, 0] = 0.0
        if t % BLOCK_PERIODS == 0:
            offered_kw, reserve = float(actions[i, 0]), float(actions[i, 1])
            if np.isnan(offered_kw) or np.isnan(reserve):
                offered_kw = reserve = 0.0
            offered_kw = min(max(offered_kw, 0.0), capacity_kw)
            reserve = min(max(reserve, 0.0), MAX_RESERVE_GBP_PER_KW)
            terms[i, 0] = _sell(tenants, t // BLOCK_PERIODS, offered_kw, reserve, room, lane)
        sold_kw = lane["sold_kw"]
        metered_kwh = sold_kw * PERIOD_H
        # Without a day-ahead position all of it is deviation.
        _, terms[i, 1] = energy_gbp(0.0, metered_kwh, 0.0, market.imbalance_price_gbp_per_mwh[t])
        terms[i, 2], terms[i, 3] = adders_gbp(adders, metered_kwh, market.carbon_g_per_kwh[t])
        turned_down_kw, price = sell_turn_down(flexibility, t, capacity_kw - sold_kw, 0.0)
        terms[i, 4] = turned_down_kw * PERIOD_H * price / 1000.0
        over[i] = t + 1 >= lane["stop"]
        terms[i, 5] = 0.0
        if over[i]:
            owed_kwh = sold_kw * (-(t + 1) % BLOCK_PERIODS) * PERIOD_H
            carbon_gbp_per_mwh = adders.carbon_gbp_per_tonne * market.carbon_g_per_kwh[t] / 1000.0
            cost_gbp_per_mwh = market.end_price_gbp_per_mwh[t + 1] + adders.network_gbp_per_mwh + carbon_gbp_per_mwh
            terms[i, 5] = -owed_kwh * cost_gbp_per_mwh / 1000.0
        if (t + 1) % BLOCK_PERIODS == 0:
            lane["sold_kw"] = 0.0
        lane["tenant_kw"], lane["turned_down_kw"], lane["flexibility_gbp_per_mwh"] = sold_kw, turned_down_kw, price
        lane["period"] = t + 1
        _observe(expected, shown, lane, observations[i])


@njit(**LOOP)
def _observe_lanes(expected: np.ndarray, shown: np.ndarray, lanes: np.ndarray, observations: np.ndarray) -> None:
    for i in range(lanes.size):
        _observe(expected, shown, lanes[i], observations[i])


@njit(**KERNEL)
def _observe(expected: np.ndarray, shown: np.ndarray, lane: np.void, observation: np.ndarray) -> None:
    t = lane["period"]
    observation[0] = min((lane["stop"] - t) * PERIOD_H, HORIZON_H)
    observation[1] = (-t % BLOCK_PERIODS) * PERIOD_H
    observation[2] = lane["sold_kw"]
    observation[3], observation[4] = expected[t, 0], expected[t, 1]
    paid, sold = lane["paid_gbp_per_kw"], lane["sold_fraction"]
    for k in range(RESULTS):
        observation[5 + k] = paid[k]
        observation[5 + RESULTS + k] = sold[k]
    copy_row(shown, t, observation, 5 + 2 * RESULTS)
