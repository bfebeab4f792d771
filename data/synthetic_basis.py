"""What every step of the synthetic grid stands on: the calendar, levels by year and quarter, and noise."""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import LOCAL_TIME_ZONE, PERIOD, local_hour
from data.schema import PERIOD_H

Array: TypeAlias = NDArray[np.float64]


class Year(NamedTuple):
    """Fleet, demand and carbon levels in the middle of a year."""

    time: float
    wind_capacity_mw: float  # transmission-metered; 99.5th percentile of output
    solar_capacity_mw: float  # embedded, NESO estimate
    gross_demand_mw: float  # transmission demand + embedded wind and solar, yearly mean
    gas_offset_mw: float  # gas burn less 0.78 x residual demand: nuclear, biomass and imports push it down
    curtailment: float  # added propensity of the system to pay wind to stop, standard deviations


class Quarter(NamedTuple):
    """Price regime in the middle of a quarter."""

    time: float
    price_gbp_per_mwh: float  # at 20.5 GW of residual demand; brings out quarterly, from 2023-07 yearly, means
    scarcity: float  # added propensity to day-ahead spikes, standard deviations


YEARS: Final = (
    Year(2020.5, 13_300.0, 13_200.0, 30_400.0, -5_300.0, -0.25),
    Year(2021.5, 13_500.0, 13_700.0, 31_000.0, -4_600.0, -0.35),
    Year(2022.5, 15_600.0, 14_500.0, 29_900.0, -3_300.0, 0.0),
    Year(2023.5, 16_300.0, 15_900.0, 29_700.0, -5_600.0, 0.4),
    Year(2024.5, 16_500.0, 17_300.0, 29_900.0, -7_000.0, 0.3),
)
QUARTERS: Final = (
    Quarter(2020.125, 31.2, -1.2),
    Quarter(2020.375, 23.4, -1.2),
    Quarter(2020.625, 35.4, -1.2),
    Quarter(2020.875, 38.5, -0.8),
    Quarter(2021.125, 55.5, 0.4),
    Quarter(2021.375, 68.2, -0.2),
    Quarter(2021.625, 125.0, 0.6),
    Quarter(2021.875, 194.0, 0.3),
    Quarter(2022.125, 184.3, 0.0),
    Quarter(2022.375, 145.3, -0.4),
    Quarter(2022.625, 344.8, -0.6),
    Quarter(2022.875, 151.0, 0.4),
    Quarter(2023.125, 121.7, -1.0),
    Quarter(2023.375, 90.6, -1.6),
    Quarter(2023.75, 78.9, -1.6),
    Quarter(2024.25, 67.4, -1.8),
)


class Clock(NamedTuple):
    """What the calendar says of each half-hour, every field of shape (n,)."""

    time: Array  # UTC, in years
    hour: Array  # local, middle of the half-hour
    utc_hour: Array  # middle of the half-hour
    day_type: NDArray[np.int64]  # 0 weekday, 1 Saturday, 2 Sunday or Christmas week
    sun: Array  # sine of the solar elevation in the middle of England, 0 at night


def clock(index: pd.DatetimeIndex) -> Clock:
    """Read the calendar and the sun off the half-hours of an index in UTC, shape (n,)."""
    middle = index + PERIOD / 2
    local = index.tz_convert(LOCAL_TIME_ZONE)
    utc_hour = (middle.hour + middle.minute / 60.0).to_numpy()
    day_of_year = middle.day_of_year.to_numpy() - 1.0 + utc_hour / 24.0
    season = 2.0 * np.pi * day_of_year / 365.25  # angle since New Year
    month, day = local.month.to_numpy(), local.day.to_numpy()
    christmas = ((month == 12) & (day >= 25)) | ((month == 1) & (day == 1))
    declination = -np.radians(23.44) * np.cos(season + 2.0 * np.pi * 10.0 / 365.25)
    latitude, hour_angle = np.radians(52.5), 2.0 * np.pi * (utc_hour - 12.1) / 24.0
    elevation = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    return Clock(
        time=middle.year.to_numpy() + day_of_year / 365.25,
        hour=local_hour(index) + PERIOD_H / 2.0,
        utc_hour=utc_hour,
        day_type=np.where(christmas, 2, np.maximum(local.day_of_week.to_numpy() - 4, 0)),
        sun=np.maximum(elevation, 0.0),
    )


def wintriness(clock: Clock, coldest_day: float) -> Array:
    """1 on the coldest day of the year, 0 half a year later, shape (n,)."""
    return 0.5 + 0.5 * np.cos(2.0 * np.pi * (clock.time - coldest_day / 365.25))


def drift(rng: np.random.Generator, n: int, *time_constants_h: float) -> Array:
    """Stationary Gaussian noise of unit variance, shape (n,): AR(1) for one time constant, a smoother AR(2) for two."""
    from scipy.signal import lfilter  # takes a second to load, and a server needs none of it

    poles = np.exp(-PERIOD_H / np.array(time_constants_h))
    warm_up = int(12 * max(time_constants_h) / PERIOD_H)
    coefficients = np.poly(poles)
    response = lfilter([1.0], coefficients, np.eye(1, warm_up)[0])
    gain = 1.0 / np.sqrt(np.sum(response**2))
    filtered: Array = np.asarray(lfilter([gain], coefficients, rng.standard_normal(warm_up + n)))
    return filtered[warm_up:]


def by_hour(hour: Array, by_hour: Sequence[float]) -> Array:
    """A table of 24 hourly means read at any local hour, shape (n,), without steps."""
    return np.interp(hour, np.arange(24) + 0.5, by_hour, period=24.0)


def by_time(time: Array, table: Sequence[Year] | Sequence[Quarter], field: str) -> Array:
    """One field of a table of levels, interpolated in time; beyond its ends the nearest row holds."""
    levels: list[float] = [getattr(row, field) for row in table]
    return np.interp(time, [row.time for row in table], levels)
