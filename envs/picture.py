"""Pictures of a system's last two days."""

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray


def two_panels(log: pd.DataFrame, step_days: float) -> Figure:
    """Price above, state of charge and power below; an empty log gives empty axes.

    Args:
        log: Columns `timestamp_utc`, `imbalance_price_gbp_per_mwh`, `charge_fraction`, `power_kw`; n rows.
        step_days: How long a row lasts.

    Returns:
        A figure that no window shows.
    """
    figure = Figure(figsize=(8.0, 5.0), dpi=100, layout="constrained")
    price_axes, charge_axes = figure.subplots(2, 1, sharex=True)
    price_axes.set_ylabel("imbalance price\nGBP/MWh")
    charge_axes.set_ylabel("state of charge")
    charge_axes.set_ylim(0.0, 1.0)
    power_axes = charge_axes.twinx()
    power_axes.set_ylabel("grid power, kW")
    if not log.empty:
        time = log["timestamp_utc"].dt.tz_localize(None).to_numpy()
        price_axes.step(time, log["imbalance_price_gbp_per_mwh"], where="post", color="tab:red")
        charge_axes.plot(time, log["charge_fraction"], color="tab:blue")
        power_axes.bar(time, log["power_kw"], width=step_days, align="edge", color="tab:green", alpha=0.4)
        charge_axes.tick_params(axis="x", rotation=30)
    return figure


def queue_panels(log: pd.DataFrame) -> Figure:
    """Price and carbon above, grid power and waiting work below; an empty log gives empty axes.

    Args:
        log: Columns `timestamp_utc`, `imbalance_price_gbp_per_mwh`, `carbon_g_per_kwh`, `grid_kw`, `waiting_kwh`.

    Returns:
        A figure that no window shows.
    """
    figure = Figure(figsize=(8.0, 5.0), dpi=100, layout="constrained")
    price_axes, power_axes = figure.subplots(2, 1, sharex=True)
    carbon_axes, work_axes = price_axes.twinx(), power_axes.twinx()
    price_axes.set_ylabel("imbalance price\nGBP/MWh", color="tab:red")
    carbon_axes.set_ylabel("carbon, g/kWh", color="tab:gray")
    power_axes.set_ylabel("grid power, kW", color="tab:green")
    work_axes.set_ylabel("waiting work, kWh", color="tab:blue")
    if not log.empty:
        time = log["timestamp_utc"].dt.tz_localize(None).to_numpy()
        price_axes.step(time, log["imbalance_price_gbp_per_mwh"], where="post", color="tab:red")
        carbon_axes.step(time, log["carbon_g_per_kwh"], where="post", color="tab:gray", alpha=0.7)
        power_axes.bar(time, log["grid_kw"], width=1.0 / 48.0, align="edge", color="tab:green", alpha=0.4)
        work_axes.plot(time, log["waiting_kwh"], color="tab:blue")
        power_axes.tick_params(axis="x", rotation=30)
    return figure


def cooling_panels(log: pd.DataFrame, limit_c: float) -> Figure:
    """Temperatures above, electricity and the price it met below; an empty log gives empty axes.

    Args:
        log: Columns `timestamp_utc`, `setpoint_c`, `supply_c`, `inlet_c`, `mass_c`, `grid_kw`, `it_kw`,
            `imbalance_price_gbp_per_mwh`.
        limit_c: Inlet limit to draw.

    Returns:
        A figure that no window shows.
    """
    figure = Figure(figsize=(8.0, 5.0), dpi=100, layout="constrained")
    heat_axes, power_axes = figure.subplots(2, 1, sharex=True)
    price_axes = power_axes.twinx()
    heat_axes.set_ylabel("temperature, C")
    power_axes.set_ylabel("cooling power, kW", color="tab:green")
    price_axes.set_ylabel("imbalance price\nGBP/MWh", color="tab:red")
    heat_axes.axhline(limit_c, color="black", linestyle=":", linewidth=1.0, label="limit")
    if not log.empty:
        time = log["timestamp_utc"].dt.tz_localize(None).to_numpy()
        heat_axes.step(time, log["setpoint_c"], where="post", color="tab:blue", alpha=0.4, label="set-point")
        for column, color in (("supply_c", "tab:blue"), ("inlet_c", "tab:red"), ("mass_c", "tab:brown")):
            heat_axes.plot(time, log[column], color=color, label=column.removesuffix("_c"))
        figure.legend(loc="outside upper center", ncols=5)
        power_axes.bar(time, log["grid_kw"], width=1.0 / 48.0, align="edge", color="tab:green", alpha=0.4)
        price_axes.step(time, log["imbalance_price_gbp_per_mwh"], where="post", color="tab:red")
        power_axes.tick_params(axis="x", rotation=30)
    return figure


def site_panels(log: pd.DataFrame) -> Figure:
    """Price and carbon, where the power goes, charge and inlet, one above the other; an empty log gives empty axes.

    Args:
        log: Columns `timestamp_utc`, `imbalance_price_gbp_per_mwh`, `carbon_g_per_kwh`, `grid_kw`, `it_kw`,
            `cooling_kw`, `power_kw`, `charge_fraction`, `inlet_c`, `waiting_kwh`.

    Returns:
        A figure that no window shows.
    """
    figure = Figure(figsize=(8.0, 7.5), dpi=100, layout="constrained")
    price_axes, power_axes, store_axes = figure.subplots(3, 1, sharex=True)
    carbon_axes, work_axes = price_axes.twinx(), store_axes.twinx()
    price_axes.set_ylabel("imbalance price\nGBP/MWh", color="tab:red")
    carbon_axes.set_ylabel("carbon, g/kWh", color="tab:gray")
    power_axes.set_ylabel("power, kW")
    store_axes.set_ylabel("state of charge", color="tab:blue")
    store_axes.set_ylim(0.0, 1.0)
    work_axes.set_ylabel("waiting work, kWh", color="tab:brown")
    if not log.empty:
        time = log["timestamp_utc"].dt.tz_localize(None).to_numpy()
        price_axes.step(time, log["imbalance_price_gbp_per_mwh"], where="post", color="tab:red")
        carbon_axes.step(time, log["carbon_g_per_kwh"], where="post", color="tab:gray", alpha=0.7)
        stacked = {"IT": log["it_kw"], "cooling": log["cooling_kw"], "charging": log["power_kw"].clip(lower=0.0)}
        power_axes.stackplot(time, *stacked.values(), labels=list(stacked), step="post", alpha=0.6)
        power_axes.step(time, log["grid_kw"], where="post", color="black", linewidth=1.2, label="import")
        power_axes.legend(loc="lower left", ncols=4, fontsize="small")
        store_axes.plot(time, log["charge_fraction"], color="tab:blue")
        work_axes.plot(time, log["waiting_kwh"], color="tab:brown")
        store_axes.tick_params(axis="x", rotation=30)
    return figure


def auction_panels(log: pd.DataFrame) -> Figure:
    """Prices above, capacity sold to tenants and to the DSO below; an empty log gives empty axes.

    Args:
        log: Columns `timestamp_utc`, `imbalance_price_gbp_per_mwh`, `paid_gbp_per_kw`, `grid_kw`, `turned_down_kw`.

    Returns:
        A figure that no window shows.
    """
    figure = Figure(figsize=(8.0, 5.0), dpi=100, layout="constrained")
    price_axes, power_axes = figure.subplots(2, 1, sharex=True)
    paid_axes = price_axes.twinx()
    price_axes.set_ylabel("imbalance price\nGBP/MWh", color="tab:red")
    paid_axes.set_ylabel("paid by tenants\nGBP/kW and block", color="tab:blue")
    power_axes.set_ylabel("power sold, kW")
    if not log.empty:
        time = log["timestamp_utc"].dt.tz_localize(None).to_numpy()
        price_axes.step(time, log["imbalance_price_gbp_per_mwh"], where="post", color="tab:red")
        paid_axes.step(time, log["paid_gbp_per_kw"], where="post", color="tab:blue")
        width = 1.0 / 48.0
        power_axes.bar(time, log["grid_kw"], width, align="edge", color="tab:blue", alpha=0.5, label="to tenants")
        power_axes.bar(
            time, log["turned_down_kw"], width, log["grid_kw"], align="edge", color="tab:orange", label="to the DSO"
        )
        power_axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize="small", frameon=False)
        power_axes.tick_params(axis="x", rotation=30)
    return figure


def market_panels(log: pd.DataFrame) -> Figure:
    """Prices above, state of charge, sold and delivered power below; an empty log gives empty axes.

    Args:
        log: Columns `timestamp_utc`, `imbalance_price_gbp_per_mwh`, `clearing_price_gbp_per_mwh`, `charge_fraction`,
            `grid_kw`, `called_kw`.

    Returns:
        A figure that no window shows.
    """
    figure = Figure(figsize=(8.0, 5.0), dpi=100, layout="constrained")
    price_axes, charge_axes = figure.subplots(2, 1, sharex=True)
    power_axes = charge_axes.twinx()
    price_axes.set_ylabel("GBP/MWh")
    charge_axes.set_ylabel("state of charge", color="tab:blue")
    charge_axes.set_ylim(0.0, 1.0)
    power_axes.set_ylabel("kW, import above 0")
    if not log.empty:
        time = log["timestamp_utc"].dt.tz_localize(None).to_numpy()
        price_axes.step(time, log["imbalance_price_gbp_per_mwh"], where="post", color="tab:red", label="imbalance")
        price_axes.step(time, log["clearing_price_gbp_per_mwh"], where="post", color="tab:orange", label="flexibility")
        price_axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize="small", frameon=False)
        charge_axes.plot(time, log["charge_fraction"], color="tab:blue")
        width = 1.0 / 48.0
        power_axes.bar(time, log["grid_kw"], width, align="edge", color="tab:green", alpha=0.4, label="grid power")
        power_axes.step(time, -log["called_kw"], where="post", color="tab:orange", label="sold turn-down")
        power_axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize="small", frameon=False)
        charge_axes.tick_params(axis="x", rotation=30)
    return figure


def figure_to_rgb(figure: Figure) -> NDArray[np.uint8]:
    """Render a figure, shape (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
