"""Day-ahead forecasts as they stood when the publication rule lets them be seen."""

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd

from data.calendar import LOCAL_TIME_ZONE, PERIOD, settlement_date
from data.labels import Quirks, Rows, both_halves, empty, grid, labelled
from data.schema import INDEX_NAME
from data.sources import forecast_cutoff


def forecasts(read: Callable[[str], Rows], quirks: Quirks) -> dict[str, pd.Series]:
    """Each forecast as it stood at the cut-off of the day before: later issues are not used, whatever they know."""
    embedded = [rows for name in ("embedded_forecast", "embedded_forecast_now") if len(rows := read(name))]
    both = _issued(pd.concat(embedded) if embedded else pd.DataFrame(), quirks, "embedded_forecast")
    wind = _issued(read("wind_forecast"), quirks, "wind_forecast")
    return {
        "demand_forecast_da_mw": _demand_forecast(read, quirks),
        "wind_forecast_da_mw": both_halves(wind["output_mw"]) if len(wind) else empty(),
        "embedded_wind_forecast_da_mw": both["embedded_wind_mw"] if len(both) else empty(),
        "embedded_solar_forecast_da_mw": both["embedded_solar_mw"] if len(both) else empty(),
    }


def _issued(rows: Rows, quirks: Quirks, source: str) -> Rows:
    """For each half-hour (or hour) the newest forecast that was out at the cut-off, by UTC start."""
    if rows.empty:
        return rows
    if "settlement_date" in rows:
        rows = labelled(rows, quirks, source)
    else:
        rows = rows.set_index(pd.DatetimeIndex(rows["start"]).rename(INDEX_NAME))
    rows = rows.dropna(subset=[name for name in rows.columns.astype(str) if name.endswith("_mw")])
    in_time = rows["published_at"].to_numpy() <= _cutoffs(pd.DatetimeIndex(rows.index)).to_numpy()
    quirks[f"{source}: half-hour with no issue in time"] += (
        rows.index[~in_time].difference(rows.index[in_time]).nunique()
    )
    rows = rows[in_time].sort_values("published_at", kind="stable")
    return rows[~rows.index.duplicated(keep="last")].sort_index()


def _cutoffs(starts: pd.DatetimeIndex) -> pd.DatetimeIndex:
    days, row = np.unique(settlement_date(starts), return_inverse=True)
    return pd.DatetimeIndex([forecast_cutoff(day) for day in days.tolist()], tz="UTC").as_unit("us")[row]


def _demand_forecast(read: Callable[[str], Rows], quirks: Quirks) -> pd.Series:
    """Elexon's half-hourly forecast; where a day of it is not whole, NESO's cardinal points that were out in time."""
    source = "demand_forecast"
    found = _issued(read(source), quirks, source)
    demand = found["demand_mw"] if len(found) else empty(pd.DatetimeIndex([], tz="UTC"))
    points = read("neso_demand_forecast")
    for day in sorted(set(points["settlement_date"])) if len(points) else ():
        starts = grid(day, day)
        in_time = points[(points["settlement_date"] == day) & (points["published_at"] <= forecast_cutoff(day))]
        if len(in_time) and not starts.isin(demand.index).all():
            quirks[f"{source}: day drawn through NESO's cardinal points"] += 1
            newest = in_time[in_time["published_at"] == in_time["published_at"].max()]
            demand = pd.concat([demand[~demand.index.isin(starts)], through_points(newest, day)])
    return demand


def through_points(points: Rows, day: date) -> pd.Series:
    """Demand of a day drawn in straight lines through cardinal points, MW, by UTC start of the half-hour.

    Args:
        points: `from_hhmm`, `to_hhmm` (local times that end a half-hour; a peak or trough lies between two of them) and
            `demand_mw`.
        day: The settlement date.
    """
    starts = grid(day, day)
    ends = [_local_instant(day, points[name]) - PERIOD for name in ("from_hhmm", "to_hhmm")]
    middle = ends[0] + (ends[1] - ends[0]) / 2
    since = [(instants - starts[0]) / PERIOD for instants in (starts, middle)]
    order = np.argsort(since[1].to_numpy(), kind="stable")
    drawn = np.interp(since[0], since[1].to_numpy()[order], points["demand_mw"].to_numpy(dtype=np.float64)[order])
    return pd.Series(drawn, index=starts)


def _local_instant(day: date, hhmm: pd.Series) -> pd.DatetimeIndex:
    minutes = hhmm.to_numpy() // 100 * 60 + hhmm.to_numpy() % 100
    wall = pd.Timestamp(day) + pd.to_timedelta(minutes, unit="m")
    summer = np.ones(len(wall), dtype=np.bool_)
    local = wall.tz_localize(LOCAL_TIME_ZONE, ambiguous=summer, nonexistent="shift_forward")
    return pd.DatetimeIndex(local.tz_convert("UTC"))
