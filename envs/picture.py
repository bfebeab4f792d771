"""Pictures of a system's last two days."""

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray


def two_panels(log: pd.DataFrame) -> Figure:
    """Price above, state of charge and power below; an empty log gives empty axes.

    Args:
        log: Columns `timestamp_utc`, `imbalance_price_gbp_per_mwh`, `charge_fraction`, `power_kw`; n rows.

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
        power_axes.bar(time, log["power_kw"], width=1.0 / 48.0, align="edge", color="tab:green", alpha=0.4)
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


def figure_to_rgb(figure: Figure) -> NDArray[np.uint8]:
    """Render a figure, shape (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
