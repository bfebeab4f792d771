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
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import expit

from data.calendar import LOCAL_TIME_ZONE, PERIOD, local_hour
from data.load import FILE_NAME
from data.schema import COLUMNS, INDEX_NAME, PERIOD_H
from data.stull import stull_wet_bulb_c

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
# Gross demand, per cent of its yearly mean, by local hour; rows weekday, Saturday, Sunday.
WINTER_PCT: Final = (
    (89, 88, 85, 82, 81, 86, 100, 116, 125, 131, 133, 134, 135, 133, 130, 130, 136, 142, 140, 133, 125, 114, 103, 92),
    (89, 87, 83, 81, 78, 80, 86, 94, 104, 113, 118, 120, 121, 119, 117, 117, 122, 129, 127, 121, 113, 105, 97, 89),
    (87, 85, 81, 78, 76, 77, 81, 87, 96, 107, 114, 118, 121, 120, 119, 120, 128, 133, 130, 123, 115, 107, 97, 87),
)
SUMMER_PCT: Final = (
    (71, 69, 67, 66, 65, 67, 78, 91, 101, 106, 108, 110, 111, 110, 107, 106, 106, 108, 106, 102, 98, 94, 88, 78),
    (71, 68, 66, 64, 63, 63, 68, 76, 86, 92, 96, 97, 98, 96, 93, 91, 92, 95, 95, 92, 88, 86, 82, 75),
    (69, 66, 64, 62, 61, 60, 63, 70, 79, 87, 92, 95, 98, 97, 94, 93, 95, 97, 96, 93, 89, 87, 82, 74),
)
# Day-ahead price over its level by residual demand (demand less transmission wind), binned medians over all years.
RESIDUAL_GW: Final = (2.0, 5.0, 7.0, 9.0, 12.0, 14.0, 17.0, 19.5, 22.0, 24.5, 27.0, 29.5, 32.0, 34.5, 37.0, 39.0, 42.0)
PRICE_RATIO: Final = (0.2, 0.42, 0.5, 0.63, 0.77, 0.85, 0.92, 0.97, 1.04, 1.1, 1.16, 1.21, 1.26, 1.35, 1.6, 1.95, 2.9)
# What residual demand leaves of the day-ahead shape, per cent, by local hour.
HOUR_PRICE_PCT: Final = (-1, -3, -6, -9, -8, -1, 6, 4, 6, 5, 0, -3, -3, -9, -13, -13, -1, 12, 16, 13, 5, 2, -5, 4)
# Mean net imbalance volume, MWh, by local hour.
HOUR_VOLUME_MWH: Final = (
    0, -12, -50, -73, -63, -41, 50, 45, 72, 71, 27, 6, 27, -21, -55, -65, 22, 106, 124, 93, 48, 58, -17, 19
)  # fmt: skip


class AirFit(NamedTuple):
    """London air: mean, spread, monthly and hourly normals and autocorrelation of 2020-2023."""

    mean_c: float = 11.3
    season_c: float = 6.8  # half the span from January to July
    winter_swing_c: float = 1.7  # half the span of a winter day
    summer_swing_c: float = 4.4
    warmest_utc_hour: float = 15.0
    summer_anomaly_c: float = 3.3
    winter_anomaly_c: float = 3.9
    coldest_day: float = 27.0
    anomaly_h: float = 60.0  # autocorrelation 0.63 at 24 h, 0.44 at 48 h
    wind_share: float = 0.4  # correlation of mild and windy in winter
    depression_log: float = 1.15  # dew-point depression, log Celsius: median 2.9, by month 1.7 to 6.3
    fog_c: float = 0.3  # taken off it, so that 1 % of the hours are saturated
    depression_season: float = 0.58
    depression_day: float = 0.5  # by hour 1.7 to 7.2
    depression_day_by_season: tuple[float, float] = (1.3, -0.6)  # its weight in summer, and what winter adds
    depression_mild: float = 0.06  # per Celsius; correlation 0.28
    depression_noise: float = 0.45
    depression_h: float = 14.0  # autocorrelation 0.84 at 4 h, 0.52 at 12 h


class SupplyFit(NamedTuple):
    """Wind and solar output: mean, spread and quantiles of the metered fleet and the embedded estimates."""

    wind_season: float = 0.5  # winter output is twice the summer's
    wind_h: float = 35.0  # autocorrelation 0.94 at 4 h, 0.75 at 12 h, 0.57 at 24 h
    wind_smooth_h: float = 2.0
    wind_logit: tuple[float, float] = (-0.45, 1.32)  # logit of output over the ceiling is linear in a normal
    wind_ceiling: float = 1.08  # output never quite reaches it, in capacities
    embedded_mw: float = 6_200.0
    embedded_logit: tuple[float, float] = (-1.0, 1.0)
    embedded_share: float = 0.92  # correlation 0.88 of embedded and metered wind
    embedded_h: tuple[float, float] = (30.0, 3.0)
    clear_logit: tuple[float, float] = (0.4, 0.75)  # cloud
    clear_h: float = 12.0
    solar_power: float = 1.25
    solar_yield: float = 0.97  # greatest output 11.5 of 17 GW


class DemandFit(NamedTuple):
    """Gross demand beyond its shape: daily residual 0.054 of the mean, autocorrelation 0.86 at a day."""

    heating_fraction_per_c: float = 0.0115  # winter slope on the anomaly
    coldest_day: float = 8.0
    winter_power: float = 1.5  # winters are shorter than summers
    winter_depth: float = 1.12  # the tables are means of four months, not of the depth of winter
    slow_fraction: float = 0.035
    slow_h: float = 160.0
    fast_fraction: float = 0.012
    fast_h: float = 4.0


class ForecastFit(NamedTuple):
    """Day-ahead forecasts: published mean abs. errors; persistence as measured."""

    demand_mw: float = 1_020.0  # 811, the half-hour label shift undone
    demand_h: float = 3.0
    wind_bias_fraction: float = -0.07  # bias -468
    wind_floor_mw: float = 400.0  # 1,158
    wind_fraction: float = 0.135
    wind_most_mw: float = 18_800.0
    wind_h: float = 13.0
    embedded_bias_fraction: float = -0.04
    embedded_fraction: float = 0.15  # 225
    solar_fraction: float = 0.2  # 229
    solar_h: float = 8.0


class PriceFit(NamedTuple):
    """Day-ahead price around level x merit order: yearly means, spreads, autocorrelation and tails."""

    slow_log: float = 0.13
    slow_h: float = 260.0  # daily means: autocorrelation 0.31 at 7 days
    daily_log: float = 0.12
    daily_h: float = 36.0
    hourly_log: float = 0.065
    hourly_h: float = 3.0
    scarcity_h: float = 60.0
    scarcity_centre_gw: float = 22.0
    scarcity_gw: float = 8.5  # residual demand that adds one standard deviation of tightness
    scarcity_hour: float = 4.0  # spikes keep to the evening
    scarcity_from: float = 2.9  # spikes above it
    scarcity_ratio: float = 2.8
    surplus_gw: float = 4.5  # below it wind and must-run plant outbid each other
    surplus_noise_gw: float = 2.2
    surplus_gbp_per_mwh_gw: float = 9.0
    low_gbp_per_mwh: float = -60.0  # lowest -54
    high_gbp_per_mwh: float = 2_600.0  # highest 2,586


class ImbalanceFit(NamedTuple):
    """Imbalance and intraday: autocorrelation of the deviation, its quantiles by price level and side, its tails."""

    volume_mwh: float = 295.0  # net imbalance volume: standard deviation 320 with all parts
    volume_h: float = 1.8  # autocorrelation 0.79, 0.62, 0.47, 0.38, 0.26 at 1, 2, 3, 4, 6 half-hours
    slow_mwh: float = 70.0
    slow_h: float = 60.0
    wind_error_mwh_per_mw: float = 0.05  # wind over-forecast leaves the system short: correlation 0.20
    demand_error_mwh_per_mw: float = -0.05  # correlation -0.16
    sign_mwh: float = 10.0  # 95 % of short periods are above day-ahead, 97 % of long ones below, whatever the volume
    exponent: float = 0.82  # distance from day-ahead over level falls from 0.40 at 30 to 0.26 at 200 GBP/MWh
    scale: float = 0.32
    short_scale: float = 0.82
    short_slope: float = 0.9  # a unit called costs about a level, however cheap day-ahead is
    short_tight: tuple[float, float, float] = (1.45, -0.5, 0.55)  # nearer when tight: 0.32 of level at 1, 0.22 at 1.5
    long_scale: float = 0.78
    long_slope: float = 0.7  # turned-down plant pays little more in a peak, so peaks deviate most
    long_least_ratio: float = 0.4
    turning_ratio: float = 0.9  # price over level where both slopes begin
    spread_log: float = 0.42
    spread_h: float = 3.0  # log distance: autocorrelation 0.46, 0.33, 0.25 at 1, 2, 3 half-hours
    spread_noise_log: float = 0.28
    calm_log: float = 0.2  # log distance: autocorrelation still 0.15 and 0.10 at one and two days
    calm_h: float = 100.0
    jitter: float = 0.26  # puts a few periods on the wrong side
    jitter_ratio: tuple[float, float] = (0.6, 2.0)  # price over level between which it grows with price
    intraday_spread: float = 0.7  # market index less day-ahead: mean abs. 18.7
    intraday_least_ratio: float = 0.6  # it grows with price over level above this
    intraday_volume: float = 0.52  # rank correlation 0.47 with this volume and the two before
    intraday_weights: tuple[float, float, float] = (0.4, 0.3, 0.3)  # newest first
    intraday_h: float = 4.0  # autocorrelation 0.82, 0.73, 0.61 at 1, 2, 4 half-hours
    intraday_share_with: float = (
        0.95  # of intraday news, not of its chase of past volumes, when it agrees with the side
    )
    intraday_share_against: float = 0.45  # and when not
    intraday_spike: float = 0.3
    intraday_reversion: float = 0.25  # intraday undoes part of a day-ahead spike
    intraday_spike_ratio: float = 1.6  # price over level that counts as one
    spike_h: float = 4.0
    spike_tightness: float = 0.35
    spike_from: float = 3.4
    spike_gbp_per_mwh: float = 9_000.0
    turn_down_h: float = 5.0
    turn_down_centre_gw: float = 20.0
    turn_down_gw: float = 7.0
    turn_down_from: float = 2.72  # wind paid to stop above it: 2.8 % of prices negative
    turn_down_gbp_per_mwh: float = -62.0
    turn_down_most: float = 2.9
    index_low: float = -80.0  # lowest market index -77
    low_gbp_per_mwh: float = -185.0
    high_gbp_per_mwh: float = 4_040.0


class CarbonFit(NamedTuple):
    """Carbon intensity: yearly means, spread, correlation with wind and price."""

    gas_share: float = 0.78  # of residual demand
    gas_g_per_kwh: float = 394.0  # NESO factor
    other_g_per_kwh: float = 27.0  # coal, biomass, imports
    least_gas_mw: float = 2_300.0
    noise_g_per_kwh: float = 22.0
    noise_h: float = 30.0
    low_g_per_kwh: float = 20.0  # lowest 23
    high_g_per_kwh: float = 340.0  # highest 332


AIR: Final = AirFit()
SUPPLY: Final = SupplyFit()
DEMAND: Final = DemandFit()
FORECAST: Final = ForecastFit()
PRICE: Final = PriceFit()
IMBALANCE: Final = ImbalanceFit()
CARBON: Final = CarbonFit()


class Clock(NamedTuple):
    """What the calendar says of each half-hour, every field of shape (n,)."""

    time: Array  # UTC, in years
    hour: Array  # local, middle of the half-hour
    utc_hour: Array  # middle of the half-hour
    day_type: NDArray[np.int64]  # 0 weekday, 1 Saturday, 2 Sunday or Christmas week
    sun: Array  # sine of the solar elevation in the middle of England, 0 at night


class Weather(NamedTuple):
    """London's air and Britain's wind and cloud, every field of shape (n,)."""

    temperature_c: Array
    relative_humidity_pct: Array
    wet_bulb_c: Array
    mild_c: Array  # temperature less its seasonal and daily normal, Celsius
    wind: Array  # strength of the wind, standard normal over the years
    clearness: Array  # share of clear-sky sunlight that comes through


class Supply(NamedTuple):
    """Weather-driven generation, MW, every field of shape (n,)."""

    wind_mw: Array
    embedded_wind_mw: Array
    embedded_solar_mw: Array


class DayAhead(NamedTuple):
    """Day-ahead market, every field of shape (n,)."""

    tightness: Array  # standard normal plus what residual demand adds to it
    level_gbp_per_mwh: Array  # price at 20.5 GW of residual demand
    price_gbp_per_mwh: Array


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
    clock = _clock(hourly)
    air = _weather(clock, rngs[0])
    supply = _supply(clock, air, rngs[1])
    demand_mw = _demand_mw(clock, air, supply, rngs[2])
    forecasts = _forecasts(demand_mw, supply, rngs[3])
    wind_error_mw = forecasts["wind_forecast_da_mw"] - (1.0 + FORECAST.wind_bias_fraction) * supply.wind_mw
    demand_error_mw = forecasts["demand_forecast_da_mw"] - demand_mw
    residual_mw = demand_mw - supply.wind_mw
    day_ahead = _day_ahead(clock, residual_mw + demand_error_mw - wind_error_mw, rngs[4])
    drift_mwh = IMBALANCE.wind_error_mwh_per_mw * wind_error_mw + IMBALANCE.demand_error_mwh_per_mw * demand_error_mw
    columns = {
        "day_ahead_price_gbp_per_mwh": day_ahead.price_gbp_per_mwh,
        **_imbalance(clock, residual_mw / 1000.0, drift_mwh, day_ahead, rngs[5]),
        "carbon_intensity_mix_derived_g_per_kwh": _carbon_g_per_kwh(clock, demand_mw, supply, rngs[6]),
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


def _noise(rng: np.random.Generator, n: int, *time_constants_h: float) -> Array:
    """Stationary Gaussian noise of unit variance, shape (n,): AR(1) for one time constant, a smoother AR(2) for two."""
    poles = np.exp(-PERIOD_H / np.array(time_constants_h))
    warm_up = int(12 * max(time_constants_h) / PERIOD_H)
    coefficients = np.poly(poles)
    response = lfilter([1.0], coefficients, np.eye(1, warm_up)[0])
    gain = 1.0 / np.sqrt(np.sum(response**2))
    filtered: Array = np.asarray(lfilter([gain], coefficients, rng.standard_normal(warm_up + n)))
    return filtered[warm_up:]


def _shape(hour: Array, by_hour: Sequence[float]) -> Array:
    """A table of 24 hourly means read at any local hour, shape (n,), without steps."""
    return np.interp(hour, np.arange(24) + 0.5, by_hour, period=24.0)


def _by_time(time: Array, table: Sequence[Year] | Sequence[Quarter], field: str) -> Array:
    """One field of a table of levels, interpolated in time; beyond its ends the nearest row holds."""
    levels: list[float] = [getattr(row, field) for row in table]
    return np.interp(time, [row.time for row in table], levels)


def _clock(index: pd.DatetimeIndex) -> Clock:
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


def _winter(clock: Clock, coldest_day: float) -> Array:
    """1 on the coldest day of the year, 0 half a year later, shape (n,)."""
    return 0.5 + 0.5 * np.cos(2.0 * np.pi * (clock.time - coldest_day / 365.25))


def _weather(clock: Clock, rng: np.random.Generator) -> Weather:
    n, fit = clock.time.size, AIR
    winter = _winter(clock, fit.coldest_day)
    wind_noise = _noise(rng, n, SUPPLY.wind_h, SUPPLY.wind_smooth_h)
    wind = SUPPLY.wind_season * (2.0 * winter - 1.0) + np.sqrt(1.0 - SUPPLY.wind_season**2 / 2.0) * wind_noise
    windy = fit.wind_share * winter
    mild_c = (fit.summer_anomaly_c + (fit.winter_anomaly_c - fit.summer_anomaly_c) * winter) * (
        windy * wind_noise + np.sqrt(1.0 - windy**2) * _noise(rng, n, fit.anomaly_h, 2.0)
    )
    day_weight = fit.depression_day_by_season[0] + fit.depression_day_by_season[1] * winter
    warm_hour = np.cos(2.0 * np.pi * (clock.utc_hour - fit.warmest_utc_hour) / 24.0)
    swing_c = fit.summer_swing_c + (fit.winter_swing_c - fit.summer_swing_c) * winter
    temperature_c = fit.mean_c - fit.season_c * (2.0 * winter - 1.0) + swing_c * warm_hour + mild_c
    depression_c = -fit.fog_c + np.exp(
        fit.depression_log
        - fit.depression_season * (2.0 * winter - 1.0)
        + fit.depression_day * warm_hour * day_weight
        + fit.depression_mild * mild_c
        + fit.depression_noise * _noise(rng, n, fit.depression_h, 1.0)
    )
    humidity_pct = 100.0 * np.exp(_magnus(temperature_c - np.maximum(depression_c, 0.0)) - _magnus(temperature_c))
    return Weather(
        temperature_c=temperature_c,
        relative_humidity_pct=humidity_pct,
        wet_bulb_c=stull_wet_bulb_c(temperature_c, humidity_pct),
        mild_c=mild_c,
        wind=wind,
        clearness=expit(SUPPLY.clear_logit[0] + SUPPLY.clear_logit[1] * _noise(rng, n, SUPPLY.clear_h, 1.0)),
    )


def _magnus(temperature_c: Array) -> Array:
    """Log of saturation vapour pressure, up to a constant (Magnus, 17.625 and 243.04 C)."""
    return 17.625 * temperature_c / (243.04 + temperature_c)


def _supply(clock: Clock, weather: Weather, rng: np.random.Generator) -> Supply:
    fit, n = SUPPLY, clock.time.size
    wind_capacity_mw = _by_time(clock.time, YEARS, "wind_capacity_mw")
    local_wind = fit.embedded_share * weather.wind + np.sqrt(1.0 - fit.embedded_share**2) * _noise(
        rng, n, *fit.embedded_h
    )
    solar_capacity_mw = _by_time(clock.time, YEARS, "solar_capacity_mw")
    return Supply(
        wind_mw=fit.wind_ceiling * wind_capacity_mw * expit(fit.wind_logit[0] + fit.wind_logit[1] * weather.wind),
        embedded_wind_mw=fit.embedded_mw * expit(fit.embedded_logit[0] + fit.embedded_logit[1] * local_wind),
        embedded_solar_mw=fit.solar_yield * solar_capacity_mw * clock.sun**fit.solar_power * weather.clearness,
    )


def _demand_mw(clock: Clock, weather: Weather, supply: Supply, rng: np.random.Generator) -> Array:
    """Transmission demand: what embedded wind and sun do not meet."""
    fit, n = DEMAND, clock.time.size
    winter = fit.winter_depth * _winter(clock, fit.coldest_day) ** fit.winter_power
    by_day_type = [
        winter * _shape(clock.hour, WINTER_PCT[i]) + (1.0 - winter) * _shape(clock.hour, SUMMER_PCT[i])
        for i in range(3)
    ]
    chance = fit.slow_fraction * _noise(rng, n, fit.slow_h) + fit.fast_fraction * _noise(rng, n, fit.fast_h)
    heating = -fit.heating_fraction_per_c * winter * weather.mild_c
    gross_mw = _by_time(clock.time, YEARS, "gross_demand_mw") * np.choose(clock.day_type, by_day_type) / 100.0
    return gross_mw * (1.0 + heating + chance) - supply.embedded_wind_mw - supply.embedded_solar_mw


def _forecasts(demand_mw: Array, supply: Supply, rng: np.random.Generator) -> dict[str, Array]:
    """Outturn plus persistent errors; wind and solar errors grow with output, and wind is under-forecast."""
    fit, n = FORECAST, demand_mw.size
    solar_error = fit.solar_fraction * _noise(rng, n, fit.solar_h)
    embedded_error = fit.embedded_bias_fraction + fit.embedded_fraction * _noise(rng, n, fit.wind_h)
    wind_error_mw = fit.wind_bias_fraction * supply.wind_mw + (
        fit.wind_floor_mw + fit.wind_fraction * supply.wind_mw
    ) * _noise(rng, n, fit.wind_h, 1.0)
    return {
        "demand_forecast_da_mw": demand_mw + fit.demand_mw * _noise(rng, n, fit.demand_h),
        "wind_forecast_da_mw": np.clip(supply.wind_mw + wind_error_mw, 0.0, fit.wind_most_mw),
        "embedded_wind_forecast_da_mw": supply.embedded_wind_mw * np.maximum(1.0 + embedded_error, 0.0),
        "embedded_solar_forecast_da_mw": supply.embedded_solar_mw * np.maximum(1.0 + solar_error, 0.0),
    }


def _day_ahead(clock: Clock, residual_forecast_mw: Array, rng: np.random.Generator) -> DayAhead:
    """A merit order read at forecast residual demand, with spikes when tight and subsidised bids in surplus."""
    fit, n = PRICE, clock.time.size
    residual_gw = residual_forecast_mw / 1000.0
    slow = fit.slow_log * _noise(rng, n, fit.slow_h)
    level = _by_time(clock.time, QUARTERS, "price_gbp_per_mwh") * np.exp(slow - fit.slow_log**2 / 2.0)
    chance = fit.daily_log * _noise(rng, n, fit.daily_h) + fit.hourly_log * _noise(rng, n, fit.hourly_h)
    hour_log = _shape(clock.hour, HOUR_PRICE_PCT) / 100.0
    ratio = np.interp(residual_gw, RESIDUAL_GW, PRICE_RATIO) * np.exp(hour_log + chance)
    tightness = (
        _noise(rng, n, fit.scarcity_h)
        + (residual_gw - fit.scarcity_centre_gw) / fit.scarcity_gw
        + fit.scarcity_hour * hour_log
        + _by_time(clock.time, QUARTERS, "scarcity")
    )
    ratio += fit.scarcity_ratio * np.maximum(tightness - fit.scarcity_from, 0.0) ** 2
    surplus_gw = np.maximum(fit.surplus_gw - residual_gw + fit.surplus_noise_gw * _noise(rng, n, fit.daily_h), 0.0)
    price = level * ratio - fit.surplus_gbp_per_mwh_gw * surplus_gw
    hourly = np.clip(price.reshape(-1, 2).mean(axis=1), fit.low_gbp_per_mwh, fit.high_gbp_per_mwh)
    return DayAhead(tightness, level, np.repeat(hourly, 2))


def _imbalance(
    clock: Clock, residual_gw: Array, volume_drift_mwh: Array, day_ahead: DayAhead, rng: np.random.Generator
) -> dict[str, Array]:
    """One price whose side of day-ahead is the sign of the volume, and whose distance from it is persistent."""
    fit, n = IMBALANCE, clock.time.size
    price, level = day_ahead.price_gbp_per_mwh, day_ahead.level_gbp_per_mwh
    ratio = price / level
    calm = np.exp(fit.calm_log * _noise(rng, n, fit.calm_h) - fit.calm_log**2 / 2.0)
    scale = fit.scale * 100.0 * (level / 100.0) ** fit.exponent * calm
    volume_mwh = (
        _shape(clock.hour, HOUR_VOLUME_MWH)
        + volume_drift_mwh
        + fit.volume_mwh * _noise(rng, n, fit.volume_h)
        + fit.slow_mwh * _noise(rng, n, fit.slow_h)
    )
    short = volume_mwh > 0.0
    spike = fit.spike_gbp_per_mwh * np.maximum(
        _noise(rng, n, fit.spike_h, 1.0) + fit.spike_tightness * day_ahead.tightness - fit.spike_from, 0.0
    )
    traded = np.asarray(lfilter(fit.intraday_weights, [1.0], volume_mwh)) / fit.volume_mwh
    intraday_scale = scale * fit.intraday_spread * np.maximum(ratio, fit.intraday_least_ratio)
    news = intraday_scale * np.sqrt(1.0 - fit.intraday_volume**2) * _noise(rng, n, fit.intraday_h)
    news += fit.intraday_spike * spike - fit.intraday_reversion * level * np.maximum(
        ratio - fit.intraday_spike_ratio, 0.0
    )
    intraday = news + intraday_scale * fit.intraday_volume * traded
    spread = np.exp(fit.spread_log * _noise(rng, n, fit.spread_h) + fit.spread_noise_log * rng.standard_normal(n))
    short_distance = (
        np.sqrt(spread)
        * fit.short_scale
        * scale
        * np.clip(fit.short_tight[0] + fit.short_tight[1] * ratio, fit.short_tight[2], 1.0)
    )
    short_distance += fit.short_slope * level * np.maximum(fit.turning_ratio - ratio, 0.0)
    long_distance = spread * fit.long_scale * scale * np.clip(ratio, fit.long_least_ratio, 1.0)
    long_distance += fit.long_slope * level * np.maximum(ratio - fit.turning_ratio, 0.0)
    side = volume_mwh / np.hypot(volume_mwh, fit.sign_mwh)
    share = np.where((news > 0.0) == short, fit.intraday_share_with, fit.intraday_share_against)
    imbalance = price + share * news + side * np.where(short, short_distance, long_distance)
    imbalance += fit.jitter * np.sqrt(spread) * scale * np.clip(ratio, *fit.jitter_ratio) * rng.standard_normal(n)
    imbalance += np.where(short, spike, 0.0)
    push = (
        _noise(rng, n, fit.turn_down_h)
        + (fit.turn_down_centre_gw - residual_gw) / fit.turn_down_gw
        + _by_time(clock.time, YEARS, "curtailment")
        - fit.turn_down_from
    )
    bid = fit.turn_down_gbp_per_mwh * np.minimum(push * spread, fit.turn_down_most)
    imbalance = np.where(~short & (push > 0.0), np.minimum(imbalance, bid), imbalance)
    return {
        "market_index_price_gbp_per_mwh": np.clip(price + intraday, fit.index_low, fit.high_gbp_per_mwh),
        "imbalance_price_gbp_per_mwh": np.clip(imbalance, fit.low_gbp_per_mwh, fit.high_gbp_per_mwh),
        "net_imbalance_volume_mwh": volume_mwh,
    }


def _carbon_g_per_kwh(clock: Clock, demand_mw: Array, supply: Supply, rng: np.random.Generator) -> Array:
    """Gas meets what is left, at its emission factor, over all generation."""
    fit = CARBON
    gas_mw = fit.gas_share * (demand_mw - supply.wind_mw) + _by_time(clock.time, YEARS, "gas_offset_mw")
    gas_fraction = np.maximum(gas_mw, fit.least_gas_mw) / (
        demand_mw + supply.embedded_wind_mw + supply.embedded_solar_mw
    )
    noise = fit.noise_g_per_kwh * _noise(rng, demand_mw.size, fit.noise_h, 1.0)
    return np.clip(
        fit.gas_g_per_kwh * gas_fraction + fit.other_g_per_kwh + noise, fit.low_g_per_kwh, fit.high_g_per_kwh
    )


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
