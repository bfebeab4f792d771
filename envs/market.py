"""A battery that sells turn-down into the DSO's flexibility auction: `gridpilot/Market-v0`."""

from typing import Final

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.flexibility import CAP_RANGE_GBP_PER_MWH, NOTICE_PERIODS, FlexibilityMarket, FlexibilitySource
from data.schema import PERIOD_H
from envs import charge, information
from envs.fields import Field, FloatArray, copy_row
from envs.scenario import Market, Scenario, default_scenario
from envs.system import Lanes
from models import battery as battery_model
from models import market as market_model
from models.baseline import delivered_kw, delivery_gbp
from models.battery import Battery
from models.compiling import KERNEL, LOOP, RARE
from models.settlement import Adders, adders_gbp, checked_adders, energy_gbp

GATE_PERIODS: Final = 2  # an offer made now is for the period that starts in one hour
LANE: Final = np.dtype(
    [
        ("period", np.int64),  # row of the history that is decided next
        ("stop", np.int64),  # row at which the episode ends
        ("energy_kwh", np.float64),
        ("start_energy_kwh", np.float64),
        ("sold_kw", np.float64, GATE_PERIODS),  # turn-down sold for this and later periods, at period % GATE_PERIODS
        ("sold_gbp_per_mwh", np.float64, GATE_PERIODS),
        ("clearing_gbp_per_mwh", np.float64),  # of the newest auction
        ("power_kw", np.float64),  # grid power of the last period, as all that follows
        ("called_kw", np.float64),
        ("called_gbp_per_mwh", np.float64),
    ],
    align=True,
)
TERMS: Final = ("imbalance", "network", "carbon", "wear", "flexibility", "under_delivery", "end_value")
HORIZON_H: Final = 24.0
NOTICE_H: Final = NOTICE_PERIODS * PERIOD_H
MAX_PRICE_GBP_PER_MWH: Final = CAP_RANGE_GBP_PER_MWH[1]
POWER_BOUND_KW: Final = 1e6

OWN_FIELDS: Final = (
    Field("charge_fraction", 0.0, 1.0, "stored energy over capacity"),
    Field("hours_left_h", 0.0, HORIZON_H, "time until the episode ends, at most 24 h"),
    Field("sold_now_kw", 0.0, POWER_BOUND_KW, "turn-down sold for this period"),
    Field("sold_now_gbp_per_mwh", 0.0, MAX_PRICE_GBP_PER_MWH, "its clearing price"),
    Field("sold_next_kw", 0.0, POWER_BOUND_KW, "turn-down sold for the next period"),
    Field("sold_next_gbp_per_mwh", 0.0, MAX_PRICE_GBP_PER_MWH, "its clearing price"),
    Field("clearing_gbp_per_mwh", 0.0, MAX_PRICE_GBP_PER_MWH, "clearing price of the newest auction; 0 before any"),
)
PUBLISHED_FIELDS: Final = (
    Field("wanted_kw", 0.0, POWER_BOUND_KW, "wanted in the period that is auctioned now"),
    Field("cap_gbp_per_mwh", 0.0, MAX_PRICE_GBP_PER_MWH, "most the DSO pays for it; 0 if nothing is wanted"),
    Field("event_in_h", 0.0, NOTICE_H, "time until the next wanted period, 24 h if none is published"),
    Field("event_cap_gbp_per_mwh", 0.0, MAX_PRICE_GBP_PER_MWH, "the cap in that period; 0 if none is published"),
    Field("wanted_h", 0.0, NOTICE_H, "hours of wanted periods in the next 24 h"),
)


class MarketSystem(charge.ChargedSystem):
    """A battery that offers turn-down to the DSO an hour ahead, must keep energy for it, and may fail to deliver.

    In period t the policy offers a power and a price for period t + 2. If the DSO wants a turn-down then, the offer
    meets rivals' in a uniform-price auction; what was sold is known at t + 1. Delivered is the baseline less the
    metered power, with a baseline of no power: charging before an event raises no baseline, and a discharge is
    delivered whatever else it earns. What is delivered of what was sold earns the clearing price, more earns nothing
    extra, and every MWh missing is charged `shortfall_factor` times that price. Nothing delivers by itself: delivery
    is the policy's own discharge. All metered energy is settled at the imbalance price, without a day-ahead position.

    Where all offers together fall short, the clearing price is the DSO's cap: it is the only price at which nobody
    wants to trade otherwise, the dual price of the balance. Other simulators pay the dearest accepted offer there:
    ASSUME's published example of 700 wanted at 3000, with 300 offered at 100 and 200 at 50, clears at 100 there and at
    3000 here. A choice among dual prices is made only where there are several: the lowest counts.

    Asking for nothing (NaN) offers nothing, or leaves the battery at rest. Periods after the end of an episode are not
    auctioned. Energy gained or lost since its start is valued as in `envs.battery`.
    """

    observation_fields = (*OWN_FIELDS, *PUBLISHED_FIELDS, *information.FIELDS)
    action_fields: tuple[Field, ...]
    terms = TERMS
    lane = LANE

    def __init__(
        self,
        scenario: Scenario | None = None,
        battery: Battery | None = None,
        flexibility: FlexibilitySource | None = None,
        adders: Adders | None = None,
        shortfall_factor: float = 1.5,
        start_fraction: float | None = 0.5,
    ) -> None:
        """Put a battery into two markets.

        Args:
            scenario: Where episodes come from; the synthetic training split by weeks if not given.
            battery: The battery; the default site's if not given.
            flexibility: Where the DSO's wishes and rivals come from; the seeded generator if not given.
            adders: Costs beside the market price; none if not given.
            shortfall_factor: Charge for a MWh sold and not delivered, in clearing prices.
            start_fraction: State of charge at the start of an episode; None draws it from the allowed band.

        Raises:
            ValueError: If a parameter is out of range.
        """
        self.scenario = scenario or default_scenario()
        self.battery = battery_model.checked(battery or Battery())
        self.adders = checked_adders(adders or Adders())
        if not 0.0 <= shortfall_factor <= 100.0:
            raise ValueError(f"shortfall_factor is {shortfall_factor}; 0 to 100 clearing prices are allowed")
        self.shortfall_factor = shortfall_factor
        self.start_fraction = charge.checked_start(self.battery, start_fraction)
        self._source = flexibility or FlexibilitySource()
        self.flexibility = self._source.market(self.scenario.timestamps)
        self._published = _published(self.flexibility)
        self.action_fields = (
            Field("offered_kw", 0.0, self.battery.max_discharge_kw, "turn-down offered for the period in one hour"),
            Field("price_gbp_per_mwh", 0.0, MAX_PRICE_GBP_PER_MWH, "least that it is sold for"),
            Field(
                "power_fraction", -1.0, 1.0, "share of the highest charging (above 0) or discharging (below 0) power"
            ),
        )

    def begin(self, lane: np.void) -> None:
        """Nothing has been sold; see `envs.episodes.EpisodeSystem`."""

    def observe(self, lanes: Lanes, observations: FloatArray) -> None:
        """Write each lane's observation; see `envs.system.System`."""
        _observe_lanes(self.battery, self._published, self.scenario.history.price_information, lanes, observations)

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
            self.battery, self.adders, self.shortfall_factor, self.flexibility, self.scenario.market,
            self._published, self.scenario.history.price_information, lanes, actions, terms, over, observations,
        )  # fmt: skip

    def parameters(self) -> dict[str, dict[str, float]]:
        """Battery, source of the market, adders and penalty; see `envs.system.System`."""
        return {
            "battery": self.battery._asdict(),
            "flexibility": self._source._asdict(),
            "adders": self.adders._asdict(),
            "delivery": {"shortfall_factor": self.shortfall_factor},
        }

    def feasible(self, lanes: Lanes) -> tuple[FloatArray, FloatArray]:
        """Feasible power now, and offers wherever something is wanted; see `envs.system.System`."""
        low, high = np.zeros((2, lanes.size, len(self.action_fields)), dtype=np.float32)
        wanted = self._published[lanes["period"], 0] > 0.0
        high[wanted, 0], high[wanted, 1] = self.battery.max_discharge_kw, MAX_PRICE_GBP_PER_MWH
        charge.feasible_fractions(self.battery, PERIOD_H, lanes, low[:, 2], high[:, 2])
        return low, high

    def telemetry(self, lane: np.void) -> dict[str, float]:
        """Stored energy, grid power, what was sold and delivered in the last period, and prices."""
        last, market = lane["period"] - 1, self.scenario.market
        energy_kwh, power_kw, called_kw = (float(lane[name]) for name in ("energy_kwh", "power_kw", "called_kw"))
        return {
            "energy_kwh": energy_kwh,
            "charge_fraction": energy_kwh / self.battery.capacity_kwh,
            "grid_kw": power_kw,
            "called_kw": called_kw,
            "delivered_kw": min(max(delivered_kw(0.0, power_kw), 0.0), called_kw),
            "wanted_kw": float(self.flexibility.wanted_kw[last]),
            "clearing_price_gbp_per_mwh": float(lane["called_gbp_per_mwh"]),
            "imbalance_price_gbp_per_mwh": float(market.imbalance_price_gbp_per_mwh[last]),
        }

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """State of charge, sold and metered power under the prices they met, for the last two days."""
        from envs.picture import figure_to_rgb, market_panels  # plotting loads only when somebody looks

        return figure_to_rgb(market_panels(log))


def _published(flexibility: FlexibilityMarket) -> FloatArray:
    """Rows of `PUBLISHED_FIELDS`, shape (n + 1, fields): row t uses the wishes for t to t + 47 only."""
    n = flexibility.wanted_kw.size
    row = np.arange(n + 1)
    wanted = np.concatenate([flexibility.wanted_kw, np.zeros(NOTICE_PERIODS + 1)])
    cap = np.where(wanted > 0.0, np.concatenate([flexibility.cap_gbp_per_mwh, np.zeros(NOTICE_PERIODS + 1)]), 0.0)
    upcoming = np.where(wanted > 0.0, np.arange(wanted.size), wanted.size)
    next_event = np.minimum.accumulate(upcoming[::-1])[::-1][: n + 1]
    is_known = next_event - row < NOTICE_PERIODS
    periods_before = np.concatenate([[0], np.cumsum(wanted > 0.0)])
    rows = np.column_stack(
        [
            wanted[row + GATE_PERIODS],
            cap[row + GATE_PERIODS],
            np.where(is_known, (next_event - row) * PERIOD_H, NOTICE_H),
            np.where(is_known, cap[np.where(is_known, next_event, 0)], 0.0),
            (periods_before[row + NOTICE_PERIODS] - periods_before[row]) * PERIOD_H,
        ]
    )
    return np.ascontiguousarray(rows, dtype=np.float32)


@njit(**RARE)
def sell_turn_down(
    flexibility: FlexibilityMarket, t: int, offered_kw: float, price_gbp_per_mwh: float
) -> tuple[float, float]:
    """Clear the DSO's auction of period t: the power that this offer sells, and the price of all; 0 if none is wanted.

    An offer of nothing sells nothing and still learns the price.
    """
    wanted_kw = flexibility.wanted_kw[t]
    if not wanted_kw > 0.0:
        return 0.0, 0.0
    n = flexibility.rival_kw.shape[1] + 1
    price, quantity_kw, sold_kw, bought_kw = np.empty(n), np.empty(n), np.empty(n), np.empty(1)
    price[0], quantity_kw[0] = price_gbp_per_mwh, offered_kw
    for k in range(1, n):
        price[k], quantity_kw[k] = flexibility.rival_gbp_per_mwh[t, k - 1], flexibility.rival_kw[t, k - 1]
    cap, wanted = np.full(1, flexibility.cap_gbp_per_mwh[t]), np.full(1, wanted_kw)
    clearing, _ = market_model.clear(price, quantity_kw, cap, wanted, sold_kw, bought_kw)
    return sold_kw[0], clearing


@njit(**LOOP)
def _step_lanes(
    battery: Battery,
    adders: Adders,
    shortfall_factor: float,
    flexibility: FlexibilityMarket,
    market: Market,
    published: np.ndarray,
    shown: np.ndarray,
    lanes: np.ndarray,
    actions: np.ndarray,
    terms: np.ndarray,
    over: np.ndarray,
    observations: np.ndarray,
) -> None:
    for i in range(lanes.size):
        lane = lanes[i]
        t = lane["period"]
        asked_kw = battery_model.asked_kw(battery, actions[i, 2])
        energy_kwh, power_kw = battery_model.step(battery, lane["energy_kwh"], asked_kw, PERIOD_H)
        metered_kwh = power_kw * PERIOD_H
        _, terms[i, 0] = energy_gbp(0.0, metered_kwh, 0.0, market.imbalance_price_gbp_per_mwh[t])
        terms[i, 1], terms[i, 2] = adders_gbp(adders, metered_kwh, market.carbon_g_per_kwh[t])
        terms[i, 3] = -battery.wear_gbp_per_kwh * abs(metered_kwh)

        sold_kw, sold_gbp_per_mwh, place = lane["sold_kw"], lane["sold_gbp_per_mwh"], t % GATE_PERIODS
        terms[i, 4], terms[i, 5] = delivery_gbp(
            sold_kw[place], sold_gbp_per_mwh[place], delivered_kw(0.0, power_kw), shortfall_factor, PERIOD_H
        )
        lane["called_kw"], lane["called_gbp_per_mwh"] = sold_kw[place], sold_gbp_per_mwh[place]

        sold_kw[place] = sold_gbp_per_mwh[place] = 0.0
        auctioned = t + GATE_PERIODS
        if auctioned < lane["stop"] and flexibility.wanted_kw[auctioned] > 0.0:
            offered_kw, price = float(actions[i, 0]), float(actions[i, 1])
            if np.isnan(offered_kw) or np.isnan(price):
                offered_kw = price = 0.0
            offered_kw = min(max(offered_kw, 0.0), battery.max_discharge_kw)
            price = min(max(price, 0.0), MAX_PRICE_GBP_PER_MWH)
            sold_kw[place], lane["clearing_gbp_per_mwh"] = sell_turn_down(flexibility, auctioned, offered_kw, price)
            if sold_kw[place] > 0.0:
                sold_gbp_per_mwh[place] = lane["clearing_gbp_per_mwh"]

        over[i] = t + 1 >= lane["stop"]
        terms[i, 6] = 0.0
        if over[i]:
            gained_kwh = energy_kwh - lane["start_energy_kwh"]
            terms[i, 6] = gained_kwh * battery.discharge_efficiency * market.end_price_gbp_per_mwh[t + 1] / 1000.0
        lane["energy_kwh"], lane["power_kw"] = energy_kwh, power_kw
        lane["period"] = t + 1
        _observe(battery, published, shown, lane, observations[i])


@njit(**LOOP)
def _observe_lanes(
    battery: Battery, published: np.ndarray, shown: np.ndarray, lanes: np.ndarray, observations: np.ndarray
) -> None:
    for i in range(lanes.size):
        _observe(battery, published, shown, lanes[i], observations[i])


@njit(**KERNEL)
def _observe(
    battery: Battery, published: np.ndarray, shown: np.ndarray, lane: np.void, observation: np.ndarray
) -> None:
    t = lane["period"]
    now, then = t % GATE_PERIODS, (t + 1) % GATE_PERIODS
    observation[0] = lane["energy_kwh"] / battery.capacity_kwh
    observation[1] = min((lane["stop"] - t) * PERIOD_H, HORIZON_H)
    observation[2], observation[3] = lane["sold_kw"][now], lane["sold_gbp_per_mwh"][now]
    observation[4], observation[5] = lane["sold_kw"][then], lane["sold_gbp_per_mwh"][then]
    observation[6] = lane["clearing_gbp_per_mwh"]
    at = copy_row(published, t, observation, 7)
    copy_row(shown, t, observation, at)
