"""Synthetic day-ahead, imbalance and intraday prices, and the net imbalance volume."""

from typing import Final, NamedTuple

import numpy as np

from data.synthetic_basis import QUARTERS, YEARS, Array, Clock, by_hour, by_time, drift

# Day-ahead price over its level by residual demand (demand less transmission wind), binned medians over all years.
RESIDUAL_GW: Final = (2.0, 5.0, 7.0, 9.0, 12.0, 14.0, 17.0, 19.5, 22.0, 24.5, 27.0, 29.5, 32.0, 34.5, 37.0, 39.0, 42.0)
PRICE_RATIO: Final = (0.2, 0.42, 0.5, 0.63, 0.77, 0.85, 0.92, 0.97, 1.04, 1.1, 1.16, 1.21, 1.26, 1.35, 1.6, 1.95, 2.9)
# What residual demand leaves of the day-ahead shape, per cent, by local hour.
HOUR_PRICE_PCT: Final = (-1, -3, -6, -9, -8, -1, 6, 4, 6, 5, 0, -3, -3, -9, -13, -13, -1, 12, 16, 13, 5, 2, -5, 4)
# Mean net imbalance volume, MWh, by local hour.
HOUR_VOLUME_MWH: Final = (
    0, -12, -50, -73, -63, -41, 50, 45, 72, 71, 27, 6, 27, -21, -55, -65, 22, 106, 124, 93, 48, 58, -17, 19
)  # fmt: skip


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


PRICE: Final = PriceFit()
IMBALANCE: Final = ImbalanceFit()


class DayAhead(NamedTuple):
    """Day-ahead market, every field of shape (n,)."""

    tightness: Array  # standard normal plus what residual demand adds to it
    level_gbp_per_mwh: Array  # price at 20.5 GW of residual demand
    price_gbp_per_mwh: Array


def day_ahead(clock: Clock, residual_forecast_mw: Array, rng: np.random.Generator) -> DayAhead:
    """A merit order read at forecast residual demand, with spikes when tight and subsidised bids in surplus."""
    fit, n = PRICE, clock.time.size
    residual_gw = residual_forecast_mw / 1000.0
    slow = fit.slow_log * drift(rng, n, fit.slow_h)
    level = by_time(clock.time, QUARTERS, "price_gbp_per_mwh") * np.exp(slow - fit.slow_log**2 / 2.0)
    chance = fit.daily_log * drift(rng, n, fit.daily_h) + fit.hourly_log * drift(rng, n, fit.hourly_h)
    hour_log = by_hour(clock.hour, HOUR_PRICE_PCT) / 100.0
    ratio = np.interp(residual_gw, RESIDUAL_GW, PRICE_RATIO) * np.exp(hour_log + chance)
    tightness = (
        drift(rng, n, fit.scarcity_h)
        + (residual_gw - fit.scarcity_centre_gw) / fit.scarcity_gw
        + fit.scarcity_hour * hour_log
        + by_time(clock.time, QUARTERS, "scarcity")
    )
    ratio += fit.scarcity_ratio * np.maximum(tightness - fit.scarcity_from, 0.0) ** 2
    surplus_gw = np.maximum(fit.surplus_gw - residual_gw + fit.surplus_noise_gw * drift(rng, n, fit.daily_h), 0.0)
    price = level * ratio - fit.surplus_gbp_per_mwh_gw * surplus_gw
    hourly = np.clip(price.reshape(-1, 2).mean(axis=1), fit.low_gbp_per_mwh, fit.high_gbp_per_mwh)
    return DayAhead(tightness, level, np.repeat(hourly, 2))


def imbalance(
    clock: Clock, residual_gw: Array, volume_drift_mwh: Array, day_ahead: DayAhead, rng: np.random.Generator
) -> dict[str, Array]:
    """One price whose side of day-ahead is the sign of the volume, and whose distance from it is persistent."""
    from scipy.signal import lfilter  # takes a second to load, and a server needs none of it

    fit, n = IMBALANCE, clock.time.size
    price, level = day_ahead.price_gbp_per_mwh, day_ahead.level_gbp_per_mwh
    ratio = price / level
    calm = np.exp(fit.calm_log * drift(rng, n, fit.calm_h) - fit.calm_log**2 / 2.0)
    scale = fit.scale * 100.0 * (level / 100.0) ** fit.exponent * calm
    volume_mwh = (
        by_hour(clock.hour, HOUR_VOLUME_MWH)
        + volume_drift_mwh
        + fit.volume_mwh * drift(rng, n, fit.volume_h)
        + fit.slow_mwh * drift(rng, n, fit.slow_h)
    )
    short = volume_mwh > 0.0
    spike = fit.spike_gbp_per_mwh * np.maximum(
        drift(rng, n, fit.spike_h, 1.0) + fit.spike_tightness * day_ahead.tightness - fit.spike_from, 0.0
    )
    traded = np.asarray(lfilter(fit.intraday_weights, [1.0], volume_mwh)) / fit.volume_mwh
    intraday_scale = scale * fit.intraday_spread * np.maximum(ratio, fit.intraday_least_ratio)
    news = intraday_scale * np.sqrt(1.0 - fit.intraday_volume**2) * drift(rng, n, fit.intraday_h)
    news += fit.intraday_spike * spike - fit.intraday_reversion * level * np.maximum(
        ratio - fit.intraday_spike_ratio, 0.0
    )
    intraday = news + intraday_scale * fit.intraday_volume * traded
    spread = np.exp(fit.spread_log * drift(rng, n, fit.spread_h) + fit.spread_noise_log * rng.standard_normal(n))
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
        drift(rng, n, fit.turn_down_h)
        + (fit.turn_down_centre_gw - residual_gw) / fit.turn_down_gw
        + by_time(clock.time, YEARS, "curtailment")
        - fit.turn_down_from
    )
    bid = fit.turn_down_gbp_per_mwh * np.minimum(push * spread, fit.turn_down_most)
    imbalance = np.where(~short & (push > 0.0), np.minimum(imbalance, bid), imbalance)
    return {
        "market_index_price_gbp_per_mwh": np.clip(price + intraday, fit.index_low, fit.high_gbp_per_mwh),
        "imbalance_price_gbp_per_mwh": np.clip(imbalance, fit.low_gbp_per_mwh, fit.high_gbp_per_mwh),
        "net_imbalance_volume_mwh": volume_mwh,
    }
