"""From a plan to bids: what energy in store is worth, which bids to hold at which risk, what to ask for.

A battery that plans has a price for its energy: the worth of one more stored kWh, the dual of the energy balance in a
linear program and the slope of the value of charge in a dynamic one (the water value of hydro planning; Pereira and
Pinto, "Multi-Stage Stochastic Optimization Applied to Energy Planning", Mathematical Programming 52, 1991). It buys
below that price and sells above it, losses and wear taken off, so that the curve of prices over charge is its bid.
"""

from typing import Any, Final

import cvxpy as cp
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from baselines.dp import ChargeGrid
from baselines.price_frame import PERCENTILE, PRICE, by_our_names, percentiles_of
from baselines.program import SOLVERS, Program
from data.schema import PERIOD_H
from models import battery as battery_model
from models.battery import Battery
from models.settlement import Adders

Floats = NDArray[np.float64]
POINTS: Final = 151
SAME_GBP_PER_MWH: Final = 1e-6  # steps closer than this are one
MWH_PER_KW: Final = PERIOD_H / 1000.0
SIDES: Final = {"buy": -1.0, "sell": 1.0}
LIMITS: Final = ("max_cvar_gbp", "confidence", "max_power_kw")
CONDITIONS: Final = ("expected_price_gbp_per_mwh", "price_sd_gbp_per_mwh", "cost_gbp_per_mwh")


def build_bid_vector(
    current_price: float, forecast: pd.DataFrame, uncertainty: pd.DataFrame, soc: float, lambda_deg: float
) -> pd.DataFrame:
    """Price-quantity steps of the default site's battery for every forecast half-hour.

    The worth of energy after each half-hour is that of the best reaction to every later price, prices scattering about
    the forecast independently. The charge at which a half-hour begins is that of the plan on the forecast itself.

    Args:
        current_price: Price of the half-hour that is running, GBP/MWh; nothing more is bid for it.
        forecast: One row for each half-hour after it, in order, with the column `price_gbp_per_mwh`, or as
            `forecasting.prices.Forecaster.predict_next` gives it.
        uncertainty: As many rows, with columns `price_gbp_per_mwh_p05`, `_p50`, ..., the percentiles of the forecast;
            or as `predict_next` or `predict_volatility` gives it. Without a column the forecast is taken as certain.
        soc: Charge now over capacity, 0 to 1.
        lambda_deg: Wear, GBP for each kWh exchanged with the grid.

    Returns:
        A row for each step: `period` (label of the forecast's row), `side` ("buy" or "sell"), `price_gbp_per_mwh`
        (the highest at which it buys, the lowest at which it sells), `quantity_kw` (of this step alone), and the
        percentiles. Within a period bids fall, offers rise, and no offer is below a bid, so what would be
        bought less what would be sold never rises with the price.

    Raises:
        ValueError: A column is missing or unknown, rows differ in number, or a number is not finite or out of range.
    """
    forecast = by_our_names(forecast)
    mean, columns, percentiles, weight = _forecast(forecast, by_our_names(uncertainty))
    if not np.isfinite(current_price) or not 0.0 <= soc <= 1.0:
        raise ValueError(f"current_price {current_price} must be finite and soc {soc} within 0 to 1")
    battery = battery_model.checked(Battery(wear_gbp_per_kwh=lambda_deg))
    grid = ChargeGrid(battery, Adders(), POINTS)
    path = np.append(current_price, mean)
    spread = percentiles - (percentiles @ weight)[:, None]  # around the mean, whatever the percentiles say of it
    price = np.vstack([np.full(weight.size, current_price), mean[:, None] + spread])
    end_value = float(path.mean()) * battery.discharge_efficiency
    worth = grid.worth_gbp(price, np.tile(weight, (weight.size, 1)), end_value)[:, 0]  # the same in every state
    energy_kwh, rows = soc * battery.capacity_kwh, []
    for k, expected in enumerate(path):
        if k > 0:
            for side, steps in zip(SIDES, _steps(grid, energy_kwh, worth[k]), strict=True):
                rows += [
                    (forecast.index[k - 1], side, gbp, kw, *percentiles[k - 1, : len(columns)]) for gbp, kw in steps
                ]
        power_kw = grid.best_kw(energy_kwh, expected, worth[k])
        energy_kwh, _ = battery_model.step(battery, energy_kwh, power_kw, PERIOD_H)
    return pd.DataFrame(rows, columns=["period", "side", PRICE, "quantity_kw", *columns])


def portfolio_optimization(bids: pd.DataFrame, constraints: dict[str, float]) -> pd.DataFrame:
    """How much of each bid to hold so that the expected gain is highest and the bad tail bearable.

    A bid binds at its own price; what it binds settles otherwise at the price of its half-hour. A sold MWh gains its
    price less that one, a bought MWh the reverse. Percentiles are price paths, each as likely as its neighbours leave
    it, high everywhere or low everywhere.

    Source: Rockafellar and Uryasev, "Optimization of Conditional Value-at-Risk", Journal of Risk 2(3), 2000.

    Args:
        bids: Columns `period`, `side`, `price_gbp_per_mwh`, `quantity_kw` and percentiles as made by
            `build_bid_vector`; at least one percentile.
        constraints: `max_cvar_gbp`, the highest conditional value at risk; optionally `confidence` of it (0.95) and
            `max_power_kw`, the highest power of all bids of a period and side together.

    Returns:
        The bids with `held_kw`, 0 to `quantity_kw`, and `expected_gain_gbp` of what is held.

    Raises:
        ValueError: A key or column is unknown or missing, or a number out of range.
        RuntimeError: No solver finds an optimum, which no valid input can cause: holding nothing is feasible.
    """
    unknown = set(constraints) - set(LIMITS)
    if unknown or "max_cvar_gbp" not in constraints:
        raise ValueError(f"constraints {sorted(constraints)}; max_cvar_gbp is needed, allowed are {list(LIMITS)}")
    limit, confidence = float(constraints["max_cvar_gbp"]), float(constraints.get("confidence", 0.95))
    power_kw = float(constraints.get("max_power_kw", np.inf))
    if not (limit >= 0.0 and 0.0 <= confidence < 1.0 and power_kw >= 0.0):
        raise ValueError(f"{constraints}: max_cvar_gbp and max_power_kw must be 0 or above, confidence 0 to below 1")
    gain, weight = _gains_gbp_per_kw(bids)
    quantity = bids["quantity_kw"].to_numpy(np.float64)
    if not bids.size:
        return bids.assign(held_kw=0.0, expected_gain_gbp=0.0)
    held, edge = cp.Variable(len(bids)), cp.Variable()
    tail = edge + weight @ cp.pos(-gain.T @ held - edge) / (1.0 - confidence)
    limits = [held >= 0.0, held <= quantity, tail <= limit]
    if np.isfinite(power_kw):
        groups = [cp.sum(held[rows]) for rows in bids.reset_index().groupby(["period", "side"]).groups.values()]
        limits += [group <= power_kw for group in groups]
    # The robust solver first: this is solved now and then, not every half-hour.
    if not Program(-(weight @ gain.T @ held), limits, SOLVERS[::-1]).solve():
        raise RuntimeError(f"none of {SOLVERS[::-1]} found the best portfolio; the log says why")
    kept = np.clip(held.value, 0.0, quantity)
    return bids.assign(held_kw=kept, expected_gain_gbp=gain @ weight * kept)


def dynamic_pricing_strategy(market_conditions: dict[str, float]) -> dict[str, float]:
    """What to ask for a MWh where an offer is accepted if it is not above the market's price.

    The asked price is the one with the highest margin times chance of acceptance, the market's price being normal: the
    margin equals the inverse hazard rate of that price (Myerson, "Optimal Auction Design", Mathematics of Operations
    Research 6(1), 1981). So the more certain the market, the closer to it is asked; the more it scatters, the more is
    asked above cost.

    Args:
        market_conditions: `expected_price_gbp_per_mwh`, `price_sd_gbp_per_mwh` and `cost_gbp_per_mwh`, the worth of
            what is given up.

    Returns:
        `offer_price_gbp_per_mwh`, `acceptance_probability`, `expected_margin_gbp_per_mwh` (their product with the
        margin) and `mark_up_gbp_per_mwh` over cost.

    Raises:
        ValueError: A key is missing or unknown, a number is not finite, or the deviation is below 0.
    """
    if set(market_conditions) != set(CONDITIONS):
        raise ValueError(f"market conditions {sorted(market_conditions)}; needed are exactly {list(CONDITIONS)}")
    expected, deviation, cost = (float(market_conditions[name]) for name in CONDITIONS)
    if not (np.isfinite([expected, deviation, cost]).all() and deviation >= 0.0):
        raise ValueError(f"{market_conditions}: finite numbers are needed, and a deviation of 0 or above")
    if deviation == 0.0:
        offer = max(expected, cost)
        chance = float(expected >= cost)
    else:
        away = (cost - expected) / deviation

        def excess(z: float) -> float:
            """Margin over inverse hazard at a price of z deviations, as a logarithm; rising."""
            return float(np.log(z - away) - norm.logsf(z) + norm.logpdf(z))

        low, high = np.nextafter(away, np.inf), max(away, 0.0) + 2.0
        ahead = brentq(excess, low, high) if excess(low) < 0.0 else low
        offer, chance = expected + deviation * ahead, float(norm.sf(ahead))
    return {
        "offer_price_gbp_per_mwh": offer,
        "acceptance_probability": chance,
        "expected_margin_gbp_per_mwh": chance * (offer - cost),
        "mark_up_gbp_per_mwh": offer - cost,
    }


def _forecast(forecast: pd.DataFrame, uncertainty: pd.DataFrame) -> tuple[Floats, list[str], Floats, Floats]:
    """Mean (n,), names of percentiles, they (n, states) and their probabilities (states,); one if nothing scatters."""
    if PRICE not in forecast.columns or forecast.empty:
        raise ValueError(f"the forecast of {len(forecast)} rows has {list(forecast.columns)}; {PRICE!r} is needed")
    mean = forecast[PRICE].to_numpy(np.float64)
    uncertainty = percentiles_of(uncertainty, forecast)
    columns = _in_order(uncertainty)
    if columns and len(uncertainty) != len(forecast):
        raise ValueError(f"{len(uncertainty)} rows of uncertainty for {len(forecast)} of forecast; give as many")
    percentiles = uncertainty[columns].to_numpy(np.float64) if columns else mean[:, None]
    if not (np.isfinite(mean).all() and np.isfinite(percentiles).all()):
        raise ValueError("forecast and uncertainty must be finite numbers")
    return mean, columns, percentiles, _probabilities(columns)


def _in_order(frame: pd.DataFrame) -> list[str]:
    """The percentile columns of a frame, rising.

    Raises:
        ValueError: A column that looks like one is none.
    """
    columns = [str(column) for column in frame.columns if str(column).startswith(PERCENTILE)]
    levels = [column.removeprefix(PERCENTILE) for column in columns]
    bad = [
        column for column, level in zip(columns, levels, strict=True) if not (level.isdigit() and 0 < int(level) < 100)
    ]
    if bad:
        raise ValueError(f"cannot read the percentile of {bad}; name columns {PERCENTILE}05, {PERCENTILE}50, ...")
    return sorted(columns, key=lambda column: int(column.removeprefix(PERCENTILE)))


def _probabilities(columns: list[str]) -> Floats:
    """How likely each percentile is as a path: halfway to its neighbours."""
    levels = np.array([int(column.removeprefix(PERCENTILE)) / 100.0 for column in columns])
    return np.diff(np.concatenate([[0.0], 0.5 * (levels[1:] + levels[:-1]), [1.0]]))


def _steps(grid: ChargeGrid, energy_kwh: float, worth_gbp: Floats) -> tuple[list[tuple[float, float]], ...]:
    """Bids (falling) and offers (rising) from a charge: pairs of GBP/MWh and kW."""
    b, points = grid.battery, grid.energy_kwh
    now = float(np.clip(energy_kwh, points[0], points[-1]))
    up, down = (
        b.max_charge_kw * PERIOD_H * b.charge_efficiency,
        b.max_discharge_kw * PERIOD_H / b.discharge_efficiency,
    )

    def cells(low: float, high: float) -> tuple[Floats, Floats]:
        """Slope (GBP per stored kWh) and width of every piece of the worth between two charges."""
        inside = points[(points > low) & (points < high)]
        edges = np.concatenate([[low], inside, [high]])
        width = np.diff(edges)
        kept = width > 1e-9
        return np.diff(np.interp(edges, points, worth_gbp))[kept] / width[kept], width[kept]

    slope, width = cells(now, min(now + up, float(points[-1])))
    bid = 1000.0 * (slope * b.charge_efficiency - b.wear_gbp_per_kwh)
    bid_kw = width / b.charge_efficiency / PERIOD_H
    slope, width = cells(max(now - down, float(points[0])), now)
    offer = 1000.0 * (slope[::-1] / b.discharge_efficiency + b.wear_gbp_per_kwh)
    offer_kw = width[::-1] * b.discharge_efficiency / PERIOD_H
    offer = np.maximum.accumulate(offer)
    # Below a negative worth burning energy would pay; a battery that cannot do both at once does not bid for that.
    bid = np.minimum(np.minimum.accumulate(bid), offer[0] if offer.size else np.inf)
    return _merged(bid, bid_kw), _merged(offer, offer_kw)


def _merged(price: Floats, quantity: Floats) -> list[tuple[float, float]]:
    """Neighbouring steps of one price as one."""
    if not price.size:
        return []
    firsts = np.flatnonzero(np.append(True, np.abs(np.diff(price)) > SAME_GBP_PER_MWH))
    return list(zip(price[firsts].tolist(), np.add.reduceat(quantity, firsts).tolist(), strict=True))


def _gains_gbp_per_kw(bids: pd.DataFrame) -> tuple[Floats, Floats]:
    """Gain of each bid on each path (bids, paths), and the paths' probabilities."""
    columns = _in_order(bids)
    missing = {"period", "side", PRICE, "quantity_kw"} - set(bids.columns)
    if missing or not columns:
        raise ValueError(
            f"the bids lack {sorted(missing) or 'percentiles of the price'}; they have {list(bids.columns)}"
        )
    numbers = bids[[PRICE, "quantity_kw", *columns]].to_numpy(np.float64)
    if not (np.isfinite(numbers).all() and (numbers[:, 1] >= 0.0).all() and bids["side"].isin(list(SIDES)).all()):
        raise ValueError("bids need finite prices, quantities of 0 or above, and the sides 'buy' and 'sell'")
    sign: Any = bids["side"].map(SIDES).to_numpy(np.float64)
    return MWH_PER_KW * sign[:, None] * (numbers[:, :1] - numbers[:, 2:]), _probabilities(columns)
