"""Synthetic weather, and the wind and solar output that follows from it."""

from typing import Final, NamedTuple

import numpy as np

from data.stull import stull_wet_bulb_c
from data.synthetic_basis import YEARS, Array, Clock, by_time, drift, wintriness


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


AIR: Final = AirFit()
SUPPLY: Final = SupplyFit()


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


def weather(clock: Clock, rng: np.random.Generator) -> Weather:
    """Air, wind and cloud: seasonal and daily normals with persistent departures, mild and windy together in winter."""
    from scipy.special import expit  # see `data.synthetic_basis.drift`

    n, fit = clock.time.size, AIR
    winter = wintriness(clock, fit.coldest_day)
    wind_noise = drift(rng, n, SUPPLY.wind_h, SUPPLY.wind_smooth_h)
    wind = SUPPLY.wind_season * (2.0 * winter - 1.0) + np.sqrt(1.0 - SUPPLY.wind_season**2 / 2.0) * wind_noise
    windy = fit.wind_share * winter
    mild_c = (fit.summer_anomaly_c + (fit.winter_anomaly_c - fit.summer_anomaly_c) * winter) * (
        windy * wind_noise + np.sqrt(1.0 - windy**2) * drift(rng, n, fit.anomaly_h, 2.0)
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
        + fit.depression_noise * drift(rng, n, fit.depression_h, 1.0)
    )
    humidity_pct = 100.0 * np.exp(_magnus(temperature_c - np.maximum(depression_c, 0.0)) - _magnus(temperature_c))
    return Weather(
        temperature_c=temperature_c,
        relative_humidity_pct=humidity_pct,
        wet_bulb_c=stull_wet_bulb_c(temperature_c, humidity_pct),
        mild_c=mild_c,
        wind=wind,
        clearness=expit(SUPPLY.clear_logit[0] + SUPPLY.clear_logit[1] * drift(rng, n, SUPPLY.clear_h, 1.0)),
    )


def _magnus(temperature_c: Array) -> Array:
    """Log of saturation vapour pressure, up to a constant (Magnus, 17.625 and 243.04 C)."""
    return 17.625 * temperature_c / (243.04 + temperature_c)


def supply(clock: Clock, weather: Weather, rng: np.random.Generator) -> Supply:
    """Wind and solar output of the fleet of the year in this weather."""
    from scipy.special import expit  # see `data.synthetic_basis.drift`

    fit, n = SUPPLY, clock.time.size
    wind_capacity_mw = by_time(clock.time, YEARS, "wind_capacity_mw")
    local_wind = fit.embedded_share * weather.wind + np.sqrt(1.0 - fit.embedded_share**2) * drift(
        rng, n, *fit.embedded_h
    )
    solar_capacity_mw = by_time(clock.time, YEARS, "solar_capacity_mw")
    return Supply(
        wind_mw=fit.wind_ceiling * wind_capacity_mw * expit(fit.wind_logit[0] + fit.wind_logit[1] * weather.wind),
        embedded_wind_mw=fit.embedded_mw * expit(fit.embedded_logit[0] + fit.embedded_logit[1] * local_wind),
        embedded_solar_mw=fit.solar_yield * solar_capacity_mw * clock.sun**fit.solar_power * weather.clearness,
    )
