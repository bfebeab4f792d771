"""The features of the boosted forecaster: one table of names, functions and the columns they read.

Every feature takes a `Known` and gives shape (m, 1) (the state at the decision) or (m, L) (one number per period asked
about). It reads the table through `Known` alone, so it knows what was published and no more. Prices enter as
deviations from the day-ahead price over their usual size, so that a calm 2020 and the crisis of 2022 teach the same.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import local_hour, local_midnight_utc, settlement_date, settlement_period
from data.schema import PERIODS_PER_DAY
from forecasting import indicators
from forecasting.days import by_day
from forecasting.known import Array, Known, remembered, remembered_for_leads

DAY_AHEAD: Final = "day_ahead_price_gbp_per_mwh"
IMBALANCE: Final = "imbalance_price_gbp_per_mwh"
MARKET_INDEX: Final = "market_index_price_gbp_per_mwh"
VOLUME: Final = "net_imbalance_volume_mwh"
CARBON: Final = "carbon_intensity_mix_derived_g_per_kwh"
DEMAND, DEMAND_FORECAST = "demand_mw", "demand_forecast_da_mw"
WIND, WIND_FORECAST = "wind_mw", "wind_forecast_da_mw"
EMBEDDED_WIND_FORECAST: Final = "embedded_wind_forecast_da_mw"
SOLAR, SOLAR_FORECAST = "embedded_solar_mw", "embedded_solar_forecast_da_mw"
TEMPERATURE, HUMIDITY, WET_BULB = "temperature_c", "relative_humidity_pct", "wet_bulb_c"
PAIR: Final = (IMBALANCE, DAY_AHEAD)
LOADS: Final = (DEMAND_FORECAST, WIND_FORECAST)

SCALE_DAYS: Final = 14
SMALLEST_SCALE: Final = 5.0  # GBP/MWh: keeps a quiet fortnight from blowing noise up
SPIKE: Final = 300.0  # GBP/MWh: one spike must not hide a fortnight
SESSIONS: Final = {"overnight": (0.0, 6.0), "morning": (6.0, 10.0), "midday": (10.0, 16.0), "evening": (16.0, 20.0)}


class Feature(NamedTuple):
    """One input of the forecaster.

    Attributes:
        name: Name, with its unit where it has one.
        columns: Columns of the grid table that it reads.
        values: Computes it: shape (m, 1) or (m, L), NaN where nothing is known.
    """

    name: str
    columns: tuple[str, ...]
    values: Callable[[Known], Array]


def matrix(features: tuple[Feature, ...], known: Known) -> NDArray[np.float32]:
    """Every feature of every decision and lead, shape (m, L, features)."""
    found = np.empty((known.rows.size, known.leads.size, len(features)), dtype=np.float32)
    for i, feature in enumerate(features):
        key = f"state {feature.name}"
        values = known.memory[key] if key in known.memory else feature.values(known)
        if values.shape[1] < known.leads.size:  # it is the same for whatever leads
            known.memory[key] = values
        found[:, :, i] = values
    return found


@remembered
def deviation(k: Known) -> Array:
    """Imbalance less day-ahead price, shape (n,)."""
    return k.column(IMBALANCE) - k.column(DAY_AHEAD)


@remembered
def scale(k: Known) -> Array:
    """Usual size of the deviation: its mean over the last known fortnight, GBP/MWh, shape (m, 1)."""
    size = _mean(np.minimum(np.abs(deviation(k)), SPIKE), SCALE_DAYS * PERIODS_PER_DAY)
    return np.maximum(np.nan_to_num(k.newest(size, *PAIR)), SMALLEST_SCALE)


@remembered_for_leads
def price_level(k: Known) -> Array:
    """Day-ahead price where published, else that of the last published day, shape (m, L)."""
    return k.stand_in(k.column(DAY_AHEAD), DAY_AHEAD)


def _mean(values: Array, periods: int) -> Array:
    return pd.Series(values).rolling(periods, min_periods=1).mean().to_numpy(dtype=np.float64)


def _ema(values: Array, span: int) -> Array:
    return pd.Series(values).ewm(span=span, ignore_na=True).mean().to_numpy(dtype=np.float64)


def _newest(k: Known, name: str, back: int = 0) -> Array:
    return k.newest(k.column(name), name, back=back)


def _change(k: Known, name: str, back: int) -> Array:
    return _newest(k, name) - _newest(k, name, back)


def _ahead(k: Known, name: str) -> Array:
    return k.ahead(k.column(name), name)


# Calendar: of the periods asked about.


@remembered
def _hours(k: Known) -> Array:
    return local_hour(k.clock)


@remembered
def _days(k: Known) -> NDArray[np.datetime64]:
    return settlement_date(k.clock)


@remembered
def _periods(k: Known) -> Array:
    return settlement_period(k.clock).astype(np.float64)


def _hour(k: Known) -> Array:
    return _hours(k)[k.ahead_rows]


def _session(k: Known, low: float, high: float) -> Array:
    hour = _hour(k)
    return ((hour >= low) & (hour < high)).astype(np.float64)


def _weekday(k: Known) -> Array:
    # The first day of the Unix epoch was a Thursday.
    return ((_days(k).astype(np.int64) + 3) % 7).astype(np.float64)[k.ahead_rows]


def _year_angle(k: Known, wave: Callable[[Array], Array]) -> Array:
    day = (_days(k) - _days(k).astype("datetime64[Y]")).astype(np.float64)[k.ahead_rows]
    return wave(2.0 * np.pi * day / 365.25)


def _bank_holiday(k: Known) -> Array:
    days = _days(k)
    years = days[[0, -1]].astype("datetime64[Y]").astype(int) + 1970
    return np.isin(days, _bank_holidays(int(years[0]), int(years[1]))).astype(np.float64)[k.ahead_rows]


@cache
def _bank_holidays(first_year: int, last_year: int) -> NDArray[np.datetime64]:
    from holidays import country_holidays  # slow to load

    found = country_holidays("GB", subdiv="ENG", years=range(first_year, last_year + 1))
    return np.array(sorted(found), dtype="datetime64[D]")


def _clock_change(k: Known) -> Array:
    """Hours that the local day lacks: 1 in spring, -1 in autumn, else 0."""
    return _lacking_h(k)[k.ahead_rows]


@remembered
def _lacking_h(k: Known) -> Array:
    first = k.clock[_day_starts(k)]
    length = local_midnight_utc(first, 1) - local_midnight_utc(first)
    lacking = (24.0 - length / pd.Timedelta(hours=1)).to_numpy(dtype=np.float64)
    return np.repeat(lacking, np.diff(_day_starts(k), append=len(k.clock)))


@remembered
def _day_starts(k: Known) -> NDArray[np.int64]:
    """Rows of the clock at which a local day begins, shape (days,)."""
    return np.flatnonzero(np.diff(_days(k).astype(np.int64), prepend=-1))


# Day-ahead price: its level, its shape around the period, its place in the local day. A day is published as a whole.


def _price_ahead(k: Known, shift: int) -> Array:
    there = k.stand_in(k.column(DAY_AHEAD), DAY_AHEAD, shift=shift)
    return (there - price_level(k)) / scale(k)


def _in_day(k: Known, statistic: int) -> Array:
    found = k.ahead(_day_statistics(k)[statistic], DAY_AHEAD)
    return found if statistic == 0 else found / scale(k)


@remembered
def _day_statistics(k: Known) -> tuple[Array, ...]:
    """Rank within the local day (0 to 1), and the distances to its mean, lowest and highest price, each (n,)."""
    price, starts = k.column(DAY_AHEAD), _day_starts(k)
    return tuple(by_day(price, starts[starts < price.size]))


# Day-ahead forecasts and how far off they have been.


def _residual(k: Known, shift: int = 0) -> Array:
    """Forecast demand less forecast transmission wind, MW; embedded sources lower the demand forecast already."""
    return k.ahead(k.column(DEMAND_FORECAST) - k.column(WIND_FORECAST), *LOADS, shift=shift)


def _residual_change(k: Known, shift: int) -> Array:
    return _residual(k, shift) - _residual(k)


def _error(k: Known, outturn: str, forecast: str, back: int = 0) -> Array:
    return k.newest(k.column(outturn) - k.column(forecast), outturn, forecast, back=back)


# Memory of the imbalance: deviations, volumes, intraday prices.


def _deviation(k: Known, back: int) -> Array:
    return k.newest(deviation(k), *PAIR, back=back) / scale(k)


def _above_day_ahead(k: Known, name: str, back: int = 0) -> Array:
    return (k.newest(k.column(name), name, back=back) - price_level(k)) / scale(k)


def _volume_ema(k: Known, span: int) -> Array:
    return k.newest(_ema(k.column(VOLUME), span), VOLUME)


def _deviation_mean(k: Known, periods: int) -> Array:
    return k.newest(_mean(deviation(k), periods), *PAIR) / scale(k)


def _deviation_when(k: Known, short: bool, periods: int) -> Array:
    chosen = np.where((k.column(VOLUME) > 0.0) == short, deviation(k), np.nan)
    return k.newest(_mean(chosen, periods), *PAIR, VOLUME) / scale(k)


def _short_run(k: Known) -> Array:
    """Periods for which the system has been short (above 0) or long (below 0) without a break."""
    sign = np.where(np.isnan(k.column(VOLUME)), 0.0, np.sign(k.column(VOLUME)))
    starts = np.flatnonzero(np.diff(sign, prepend=np.nan) != 0.0)
    length = np.arange(sign.size) - np.repeat(starts, np.diff(starts, append=sign.size)) + 1.0
    return k.newest(sign * length, VOLUME)


def _extreme(k: Known, highest: bool) -> Array:
    window = pd.Series(k.column(IMBALANCE)).rolling(8, min_periods=1)
    values = (window.max() if highest else window.min()).to_numpy(dtype=np.float64)
    return (k.newest(values, IMBALANCE) - price_level(k)) / scale(k)


def _week_mean(k: Known, values: Array, columns: tuple[str, ...]) -> Array:
    """Mean at this half-hour over the last seven days on which it is known."""
    days = np.stack([k.earlier(values, *columns, days=day) for day in range(1, 8)])
    count = np.isfinite(days).sum(axis=0)
    return np.where(count > 0, np.nansum(days, axis=0) / np.maximum(count, 1), np.nan)


def _load_change(k: Known, shift: int) -> Array:
    """How demand less wind moved around this half-hour on the last day known, MW."""
    load = k.column(DEMAND) - k.column(WIND)
    return k.earlier(load, DEMAND, WIND, shift=shift) - k.earlier(load, DEMAND, WIND)


def _spread(k: Known, back: int) -> Array:
    return k.newest(k.column(MARKET_INDEX) - k.column(DAY_AHEAD), MARKET_INDEX, DAY_AHEAD, back=back) / scale(k)


def _indicator(k: Known, of: Callable[[Array], Array]) -> Array:
    return k.newest(of(k.column(IMBALANCE)), IMBALANCE)


def _of_column(name: str) -> tuple[Feature, ...]:
    """Memory of any slow column: newest values, what they were a day before, the same half-hour of earlier days."""

    def series(k: Known) -> Array:
        return k.column(name)

    def less_day_mean(k: Known) -> Array:
        return series(k) - _mean(series(k), PERIODS_PER_DAY)

    return (
        Feature(f"newest_{name}", (name,), partial(_newest, name=name)),
        *(
            Feature(f"change_{back}_{name}", (name,), partial(_change, name=name, back=back))
            for back in (1, 2, 4, 8, PERIODS_PER_DAY)
        ),
        Feature(f"day_mean_{name}", (name,), lambda k: k.newest(_mean(series(k), PERIODS_PER_DAY), name)),
        Feature(f"week_mean_{name}", (name,), lambda k: k.newest(_mean(series(k), 7 * PERIODS_PER_DAY), name)),
        Feature(f"yesterday_{name}", (name,), lambda k: k.earlier(series(k), name)),
        Feature(f"yesterday_shape_{name}", (name,), lambda k: k.earlier(less_day_mean(k), name)),
        Feature(f"same_half_hour_{name}", (name,), lambda k: _week_mean(k, series(k), (name,))),
    )


CALENDAR: Final = (
    Feature("lead", (), lambda k: k.leads + 0.0 * k.rows),
    Feature("settlement_period", (), lambda k: _periods(k)[k.ahead_rows]),
    Feature("weekday", (), _weekday),
    Feature("bank_holiday", (), _bank_holiday),
    Feature("clock_change_h", (), _clock_change),
    Feature("year_sin", (), partial(_year_angle, wave=np.sin)),
    Feature("year_cos", (), partial(_year_angle, wave=np.cos)),
    *(Feature(f"session_{name}", (), partial(_session, low=low, high=high)) for name, (low, high) in SESSIONS.items()),
)

DAY_AHEAD_PRICE: Final = (
    Feature(
        "published",
        (DAY_AHEAD,),
        lambda k: np.isfinite(k.ahead(k.column(DAY_AHEAD), DAY_AHEAD)).astype(np.float64),
    ),
    Feature("day_ahead_price_gbp_per_mwh", (DAY_AHEAD,), price_level),
    Feature("day_ahead_over_scale", PAIR, lambda k: price_level(k) / scale(k)),
    *(Feature(f"day_ahead_spread_{shift:+d}", PAIR, partial(_price_ahead, shift=shift)) for shift in (-2, -1, 1, 2)),
    Feature("day_ahead_rank", (DAY_AHEAD,), partial(_in_day, statistic=0)),
    *(
        Feature(f"day_ahead_above_{name}", PAIR, partial(_in_day, statistic=i))
        for i, name in enumerate(("mean", "min", "max"), start=1)
    ),
)

SYSTEM_FORECASTS: Final = (
    *(
        Feature(f"ahead_{name}", (name,), partial(_ahead, name=name))
        for name in (DEMAND_FORECAST, WIND_FORECAST, EMBEDDED_WIND_FORECAST, SOLAR_FORECAST)
    ),
    Feature("ahead_residual_mw", LOADS, _residual),
    *(
        Feature(f"ahead_residual_change_{shift:+d}_mw", LOADS, partial(_residual_change, shift=shift))
        for shift in (-2, 2)
    ),
    *(
        Feature(f"error_{outturn}", (outturn, forecast), partial(_error, outturn=outturn, forecast=forecast))
        for outturn, forecast in ((DEMAND, DEMAND_FORECAST), (WIND, WIND_FORECAST), (SOLAR, SOLAR_FORECAST))
    ),
    Feature(
        "error_change_wind_mw",
        (WIND, WIND_FORECAST),
        lambda k: _error(k, WIND, WIND_FORECAST) - _error(k, WIND, WIND_FORECAST, back=4),
    ),
)

SYSTEM_STATE: Final = (
    *(
        Feature(f"newest_{name}", (name,), partial(_newest, name=name))
        for name in (DEMAND, WIND, SOLAR, CARBON, TEMPERATURE)
    ),
    *(
        Feature(f"change_{back}_{name}", (name,), partial(_change, name=name, back=back))
        for name, back in ((DEMAND, 2), (WIND, 4), (DEMAND, 48), (SOLAR, 48), (TEMPERATURE, 48))
    ),
    *(Feature(f"load_change_{shift:+d}_mw", (DEMAND, WIND), partial(_load_change, shift=shift)) for shift in (-2, 1)),
)

IMBALANCE_MEMORY: Final = (
    Feature("scale_gbp_per_mwh", PAIR, scale),
    *(Feature(f"deviation_{back}", PAIR, partial(_deviation, back=back)) for back in range(6)),
    *(Feature(f"deviation_mean_{w}", PAIR, partial(_deviation_mean, periods=w)) for w in (3, 8, 16, 48)),
    Feature("deviation_size_48", PAIR, lambda k: k.newest(_mean(np.abs(deviation(k)), 48), *PAIR) / scale(k)),
    Feature("deviation_yesterday", PAIR, lambda k: k.earlier(deviation(k), *PAIR) / scale(k)),
    Feature("deviation_week", PAIR, lambda k: _week_mean(k, deviation(k), PAIR) / scale(k)),
    *(
        Feature(
            f"deviation_when_{'short' if short else 'long'}_{w}",
            (*PAIR, VOLUME),
            partial(_deviation_when, short=short, periods=w),
        )
        for short in (True, False)
        for w in (48, 336)
    ),
    *(
        Feature(f"imbalance_{back}_above_day_ahead", PAIR, partial(_above_day_ahead, name=IMBALANCE, back=back))
        for back in range(3)
    ),
    Feature("imbalance_max_8_above_day_ahead", PAIR, partial(_extreme, highest=True)),
    Feature("imbalance_min_8_above_day_ahead", PAIR, partial(_extreme, highest=False)),
    *(Feature(f"volume_{back}_mwh", (VOLUME,), partial(_newest, name=VOLUME, back=back)) for back in range(4)),
    *(Feature(f"volume_ema_{span}_mwh", (VOLUME,), partial(_volume_ema, span=span)) for span in (4, 12, 48)),
    Feature("volume_change_2_mwh", (VOLUME,), partial(_change, name=VOLUME, back=2)),
    Feature("volume_yesterday_mwh", (VOLUME,), lambda k: k.earlier(k.column(VOLUME), VOLUME)),
    Feature("volume_week_mwh", (VOLUME,), lambda k: _week_mean(k, k.column(VOLUME), (VOLUME,))),
    Feature("short_run", (VOLUME,), _short_run),
    *(Feature(f"market_index_spread_{back}", (MARKET_INDEX, *PAIR), partial(_spread, back=back)) for back in range(3)),
    Feature(
        "imbalance_above_market_index",
        (MARKET_INDEX, *PAIR),
        lambda k: k.newest(k.column(IMBALANCE) - k.column(MARKET_INDEX), IMBALANCE, MARKET_INDEX) / scale(k),
    ),
    Feature(
        "market_index_above_day_ahead",
        (MARKET_INDEX, *PAIR),
        partial(_above_day_ahead, name=MARKET_INDEX),
    ),
)

INDICATORS: Final = (
    Feature("rsi", (IMBALANCE,), partial(_indicator, of=indicators.rsi)),
    Feature("average_true_range", PAIR, lambda k: _indicator(k, indicators.average_true_range) / scale(k)),
    Feature("volatility_rank", (IMBALANCE,), partial(_indicator, of=indicators.volatility_rank)),
    Feature("above_slow_average", PAIR, lambda k: _indicator(k, indicators.above_slow_average) / scale(k)),
    Feature("rsi_divergence", (IMBALANCE,), partial(_indicator, of=indicators.rsi_divergence)),
    Feature("regime", (IMBALANCE,), lambda k: k.newest(k.regimes.labels(k.column(IMBALANCE)), IMBALANCE)),
)

CARBON_MEMORY: Final = _of_column(CARBON)
WEATHER_MEMORY: Final = (*_of_column(TEMPERATURE), *_of_column(WET_BULB), *_of_column(HUMIDITY))

PRICE: Final = (*CALENDAR, *DAY_AHEAD_PRICE, *SYSTEM_FORECASTS, *SYSTEM_STATE, *IMBALANCE_MEMORY, *INDICATORS)
FEATURES: Final = tuple({feature.name: feature for feature in (*PRICE, *CARBON_MEMORY, *WEATHER_MEMORY)}.values())
