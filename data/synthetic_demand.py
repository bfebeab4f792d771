"""Synthetic demand, what was forecast of it and of renewables the day before, and the carbon of what meets it."""

from typing import Final, NamedTuple

import numpy as np

from data.synthetic_basis import YEARS, Array, Clock, by_hour, by_time, drift, wintriness
from data.synthetic_weather import Supply, Weather

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


DEMAND: Final = DemandFit()
FORECAST: Final = ForecastFit()
CARBON: Final = CarbonFit()


def demand_mw(clock: Clock, weather: Weather, supply: Supply, rng: np.random.Generator) -> Array:
    """Transmission demand: what embedded wind and sun do not meet."""
    fit, n = DEMAND, clock.time.size
    winter = fit.winter_depth * wintriness(clock, fit.coldest_day) ** fit.winter_power
    by_day_type = [
        winter * by_hour(clock.hour, WINTER_PCT[i]) + (1.0 - winter) * by_hour(clock.hour, SUMMER_PCT[i])
        for i in range(3)
    ]
    chance = fit.slow_fraction * drift(rng, n, fit.slow_h) + fit.fast_fraction * drift(rng, n, fit.fast_h)
    heating = -fit.heating_fraction_per_c * winter * weather.mild_c
    gross_mw = by_time(clock.time, YEARS, "gross_demand_mw") * np.choose(clock.day_type, by_day_type) / 100.0
    return gross_mw * (1.0 + heating + chance) - supply.embedded_wind_mw - supply.embedded_solar_mw


def forecasts(demand_mw: Array, supply: Supply, rng: np.random.Generator) -> dict[str, Array]:
    """Outturn plus persistent errors; wind and solar errors grow with output, and wind is under-forecast."""
    fit, n = FORECAST, demand_mw.size
    solar_error = fit.solar_fraction * drift(rng, n, fit.solar_h)
    embedded_error = fit.embedded_bias_fraction + fit.embedded_fraction * drift(rng, n, fit.wind_h)
    wind_error_mw = fit.wind_bias_fraction * supply.wind_mw + (
        fit.wind_floor_mw + fit.wind_fraction * supply.wind_mw
    ) * drift(rng, n, fit.wind_h, 1.0)
    return {
        "demand_forecast_da_mw": demand_mw + fit.demand_mw * drift(rng, n, fit.demand_h),
        "wind_forecast_da_mw": np.clip(supply.wind_mw + wind_error_mw, 0.0, fit.wind_most_mw),
        "embedded_wind_forecast_da_mw": supply.embedded_wind_mw * np.maximum(1.0 + embedded_error, 0.0),
        "embedded_solar_forecast_da_mw": supply.embedded_solar_mw * np.maximum(1.0 + solar_error, 0.0),
    }


def carbon_g_per_kwh(clock: Clock, demand_mw: Array, supply: Supply, rng: np.random.Generator) -> Array:
    """Gas meets what is left, at its emission factor, over all generation."""
    fit = CARBON
    gas_mw = fit.gas_share * (demand_mw - supply.wind_mw) + by_time(clock.time, YEARS, "gas_offset_mw")
    gas_fraction = np.maximum(gas_mw, fit.least_gas_mw) / (
        demand_mw + supply.embedded_wind_mw + supply.embedded_solar_mw
    )
    noise = fit.noise_g_per_kwh * drift(rng, demand_mw.size, fit.noise_h, 1.0)
    return np.clip(
        fit.gas_g_per_kwh * gas_fraction + fit.other_g_per_kwh + noise, fit.low_g_per_kwh, fit.high_g_per_kwh
    )
