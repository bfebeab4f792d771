"""A seeded synthetic GB grid: the data set that ships with the project.

Each step feeds the next: weather -> renewables -> demand -> residual demand -> day-ahead price -> net imbalance volume
-> imbalance price -> carbon. Levels by year and overall sizes follow published GB statistics of 2020 to mid-2024, so
they know the test half-year's means; quarterly levels, persistence and conditional spreads were measured up to
2023-06-30 only. It holds such aggregates, no published series.

Run `python -m data.synthetic --days 30 --output data/synthetic/` to write a table to disk.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from data import synthetic_basis, synthetic_demand, synthetic_prices, synthetic_weather
from data.calendar import PERIOD
from data.load import FILE_NAME
from data.schema import COLUMNS, INDEX_NAME
from data.synthetic_demand import FORECAST
from data.synthetic_prices import IMBALANCE


def generate(start: str = "2020-01-01", end: str = "2024-07-01", seed: int = 0) -> pd.DataFrame:
    """Half-hourly grid table with the columns of `data.schema`, without gaps.

    Args:
        start: First half-hour, UTC, on a half-hour boundary.
        end: First half-hour after the table.
        seed: Non-negative; the same (start, end, seed) gives the same table.

    Returns:
        float64 frame of shape (n_periods, len(COLUMNS)), index `timestamp_utc` (period starts).

    Raises:
        ValueError: A bound that is no timestamp or off the half-hour grid, `end` not after `start`, a negative seed.
    """
    index = _index(_bound("start", start), _bound("end", end))
    if seed < 0:
        raise ValueError(f"seed is {seed}; give an integer of 0 or more")
    # One generator per step: a change in one leaves the draws of the others alone.
    rngs = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(7)]
    hourly = _index(index[0].floor("h"), index[-1].floor("h") + pd.Timedelta(hours=1))  # the day-ahead product's grid
    clock = synthetic_basis.clock(hourly)
    air = synthetic_weather.weather(clock, rngs[0])
    supply = synthetic_weather.supply(clock, air, rngs[1])
    demand_mw = synthetic_demand.demand_mw(clock, air, supply, rngs[2])
    forecasts = synthetic_demand.forecasts(demand_mw, supply, rngs[3])
    wind_error_mw = forecasts["wind_forecast_da_mw"] - (1.0 + FORECAST.wind_bias_fraction) * supply.wind_mw
    demand_error_mw = forecasts["demand_forecast_da_mw"] - demand_mw
    residual_mw = demand_mw - supply.wind_mw
    day_ahead = synthetic_prices.day_ahead(clock, residual_mw + demand_error_mw - wind_error_mw, rngs[4])
    drift_mwh = IMBALANCE.wind_error_mwh_per_mw * wind_error_mw + IMBALANCE.demand_error_mwh_per_mw * demand_error_mw
    columns = {
        "day_ahead_price_gbp_per_mwh": day_ahead.price_gbp_per_mwh,
        **synthetic_prices.imbalance(clock, residual_mw / 1000.0, drift_mwh, day_ahead, rngs[5]),
        "carbon_intensity_mix_derived_g_per_kwh": synthetic_demand.carbon_g_per_kwh(clock, demand_mw, supply, rngs[6]),
        "demand_mw": demand_mw,
        **supply._asdict(),
        **forecasts,
        "temperature_c": air.temperature_c,
        "relative_humidity_pct": air.relative_humidity_pct,
        "wet_bulb_c": air.wet_bulb_c,
    }
    return pd.DataFrame({c.name: columns[c.name] for c in COLUMNS}, index=hourly).loc[index]


def _bound(name: str, text: str) -> pd.Timestamp:
    try:
        instant = pd.Timestamp(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}; give an ISO date or time in UTC, for example 2024-01-01") from error
    if pd.isna(instant) or instant != instant.floor(PERIOD):
        raise ValueError(f"{name} is {text!r}; give a time on the half-hour, for example 2024-01-01T00:30")
    return instant.tz_localize("UTC") if instant.tz is None else instant.tz_convert("UTC")


def _index(start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex:
    if end <= start:
        raise ValueError(f"end {end} is not after start {start}; ask for at least one half-hour")
    return pd.date_range(start, end, freq=PERIOD, inclusive="left", name=INDEX_NAME)


def main(argv: Sequence[str] | None = None) -> None:
    """Write a table to disk; see `--help`."""
    parser = argparse.ArgumentParser(prog="python -m data.synthetic", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--start", default="2024-01-01", help="first half-hour, UTC (default: %(default)s)")
    parser.add_argument("--days", type=int, default=30, help="length of the table (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("data/synthetic"), help="folder (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        if arguments.days < 1:
            raise ValueError(f"--days is {arguments.days}; ask for at least 1")
        start = _bound("--start", arguments.start)
        table = generate(str(start), str(start + pd.Timedelta(days=arguments.days)), arguments.seed)
    except ValueError as error:
        parser.error(str(error))
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / FILE_NAME
    table.to_parquet(file, compression="zstd")
    print(f"wrote {file}: {len(table)} half-hours from {table.index[0]} to {table.index[-1]}, seed {arguments.seed}")


if __name__ == "__main__":
    main()
