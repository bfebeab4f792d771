"""From answers on disk to the grid table, keyed by settlement date and period; what was odd is counted, not hidden."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

import numpy as np
import pandas as pd

from data.calendar import settlement_date, settlement_period
from data.issued import forecasts
from data.labels import Quirks, Rows, both_halves, empty, grid, labelled, once
from data.schema import COLUMNS, INDEX_NAME
from data.stull import stull_wet_bulb_c

# Fuels as Elexon names them. Pumping is load, so pumped storage counts only when it generates.
GAS: Final = ("CCGT", "OCGT")
OTHER: Final = ("OTHER", "OIL")
CLEAN: Final = ("NUCLEAR", "WIND", "NPSHYD")
ALWAYS_ON: Final = ("CCGT", "NUCLEAR", "WIND")  # without one of them the half-hour's mix is incomplete
# NESO's factors, g/kWh; those of the last three links are not published by NESO.
FUEL_G_PER_KWH: Final = {"COAL": 937.0, "BIOMASS": 120.0, **dict.fromkeys(GAS, 394.0), **dict.fromkeys(OTHER, 300.0)}
LINK_G_PER_KWH: Final = {
    **dict.fromkeys(("INTFR", "INTIFA2", "INTELEC"), 53.0),
    "INTNED": 474.0,
    **dict.fromkeys(("INTIRL", "INTEW", "INTGRNL"), 458.0),
    "INTNEM": 179.0,
    "INTNSL": 16.0,
    "INTVKL": 150.0,
}
FAULT_MW: Final = 4000.0  # supply jumping by more than this against demand is a dead reading


def table(read: Callable[[str], Rows], first: date, last: date) -> tuple[pd.DataFrame, Quirks]:
    """Build the grid table of the settlement dates `first` to `last`.

    Args:
        read: Gives the rows of a source of `data.sources.SOURCES`; empty if there are none.
        first: First settlement date.
        last: Last settlement date.

    Returns:
        The columns of `data.schema` and the settlement labels, float64 with gaps as NaN, shape (n_periods, n_columns);
        and how often each oddity of the sources was met.
    """
    quirks: Quirks = Counter()
    index = grid(first, last)
    read = _within(read, first, last)
    demand = _demand(read, quirks).reindex(index)
    mix = _generation(read("fuel_mix"), quirks).reindex(index)
    _drop_faults(mix, demand["demand_mw"], quirks)
    weather = _weather(read("weather"), read("weather_recent"), quirks).reindex(index)
    wet_bulb_c = stull_wet_bulb_c(weather["temperature_c"].to_numpy(), weather["relative_humidity_pct"].to_numpy())
    columns: Mapping[str, pd.Series] = {
        "day_ahead_price_gbp_per_mwh": _day_ahead(read("day_ahead_price"), quirks),
        "market_index_price_gbp_per_mwh": _market_index(read("market_index"), quirks),
        **_imbalance(read("system_prices"), quirks),
        "carbon_intensity_mix_derived_g_per_kwh": carbon_g_per_kwh(mix, demand),
        **{name: demand[name] for name in ("demand_mw", "embedded_wind_mw", "embedded_solar_mw")},
        "wind_mw": mix.get("WIND", empty()),
        **forecasts(read, quirks),
        **{name: weather[name] for name in ("temperature_c", "relative_humidity_pct")},
        "wet_bulb_c": pd.Series(wet_bulb_c, index=index),
    }
    built = pd.DataFrame({c.name: columns[c.name].reindex(index).astype(np.float64) for c in COLUMNS}, index=index)
    built.insert(0, "settlement_date", settlement_date(index).astype(str))
    built.insert(1, "settlement_period", settlement_period(index))
    return built, quirks


def carbon_g_per_kwh(mix: pd.DataFrame, demand: pd.DataFrame) -> pd.Series:
    """Carbon intensity of what Great Britain uses: emissions over generation, imports and embedded output.

    Args:
        mix: Output by Elexon fuel type and flow by link, MW.
        demand: `embedded_wind_mw` and `embedded_solar_mw`, same rows.

    Returns:
        g/kWh, NaN where a part is missing.
    """
    factors = FUEL_G_PER_KWH | LINK_G_PER_KWH
    supply = mix[[name for name in (*factors, *CLEAN, "PS") if name in mix]].clip(lower=0.0)
    emitted = sum((supply[name] * factor for name, factor in factors.items() if name in supply), start=empty(mix.index))
    total = supply.sum(axis=1, skipna=False) + demand["embedded_wind_mw"] + demand["embedded_solar_mw"]
    return emitted / total.where(total > 0.0)


def _within(read: Callable[[str], Rows], first: date, last: date) -> Callable[[str], Rows]:
    """Rows of the settlement dates `first` to `last`; whole weeks, months and years were asked for."""

    def rows(source: str) -> Rows:
        found = read(source)
        if "settlement_date" not in found:
            return found
        return found[(found["settlement_date"] >= first) & (found["settlement_date"] <= last)]

    return rows


def _imbalance(rows: Rows, quirks: Quirks) -> dict[str, pd.Series]:
    names = ("imbalance_price_gbp_per_mwh", "net_imbalance_volume_mwh")
    if rows.empty:
        return dict.fromkeys(names, empty())
    rows = once(
        labelled(rows.sort_values("created_at", kind="stable"), quirks, "system_prices"), quirks, "system_prices"
    )
    price, other = rows["sell_gbp_per_mwh"], rows["buy_gbp_per_mwh"]
    two = price.notna() & other.notna() & (price != other)
    quirks["system_prices: buy and sell price differ, left out"] += int(two.sum())
    return dict(zip(names, (price.where(~two), rows["net_imbalance_volume_mwh"]), strict=True))


def _market_index(rows: Rows, quirks: Quirks) -> pd.Series:
    if rows.empty:
        return empty()
    rows = labelled(rows.drop_duplicates(["start", "provider"], keep="last"), quirks, "market_index")
    traded = rows[rows["volume_mwh"] > 0.0]
    quirks["market_index: provider without volume, left out"] += len(rows) - len(traded)
    value = (traded["price_gbp_per_mwh"] * traded["volume_mwh"]).groupby(level=0).sum()
    volume = traded["volume_mwh"].groupby(level=0).sum()
    alone = ~traded.index.duplicated(keep=False)  # no rounding through a product where there is nothing to weigh
    return (value / volume).mask(volume.index.isin(traded.index[alone]), traded.loc[alone, "price_gbp_per_mwh"])


def _generation(rows: Rows, quirks: Quirks) -> pd.DataFrame:
    if rows.empty:
        return pd.DataFrame(index=pd.DatetimeIndex([], tz="UTC"), columns=list(ALWAYS_ON), dtype=np.float64)
    rows = labelled(rows, quirks, "fuel_mix").reset_index()
    rows = rows.drop_duplicates([INDEX_NAME, "fuel"], keep="last")
    unknown = sorted(set(rows["fuel"]) - {*FUEL_G_PER_KWH, *LINK_G_PER_KWH, *CLEAN, "PS"})
    quirks.update({f"fuel_mix: fuel {name!r} is unknown and left out": 1 for name in unknown})
    mix = rows.pivot_table(index=INDEX_NAME, columns="fuel", values="output_mw", aggfunc="last")
    mix = mix.reindex(columns=mix.columns.union(list(ALWAYS_ON)))
    unread = pd.DatetimeIndex(rows.loc[rows["output_mw"].isna(), INDEX_NAME].unique())
    mix = mix.reindex(mix.index.union(unread))
    whole = mix[list(ALWAYS_ON)].notna().all(axis=1) & ~mix.index.isin(unread)
    quirks["fuel_mix: half-hour without gas, nuclear or wind, or with an empty reading, left out"] += int(
        (~whole).sum()
    )
    return mix.fillna(0.0).where(whole)  # plants and links that are not built yet, or closed, send nothing


def _drop_faults(mix: pd.DataFrame, demand_mw: pd.Series, quirks: Quirks) -> None:
    """Empty the half-hours in which metering failed: supply against demand leaves its neighbours' median."""
    excess_mw = mix.sum(axis=1, skipna=False) - demand_mw
    usual_mw = excess_mw.rolling(9, center=True, min_periods=3).median()
    fault = (excess_mw - usual_mw).abs() > FAULT_MW
    quirks["fuel_mix: dead reading, left out"] += int(fault.sum())
    mix.loc[fault] = np.nan


def _demand(read: Callable[[str], Rows], quirks: Quirks) -> pd.DataFrame:
    """NESO's yearly files, then its update of the last weeks, then Elexon's initial outturn, which has no estimates."""
    columns = ["demand_mw", "embedded_wind_mw", "embedded_solar_mw"]
    found = pd.DataFrame(columns=columns, index=pd.DatetimeIndex([], tz="UTC"), dtype=np.float64)
    for source in ("neso_demand", "neso_demand_recent", "demand_outturn"):
        rows = read(source)
        if not rows.empty:
            rows = once(labelled(rows, quirks, source), quirks, source)
            rows = rows.reindex(columns=columns).astype(np.float64)
            if source == "demand_outturn":
                used = rows.index.difference(found.index[found["demand_mw"].notna()])
                quirks["demand_outturn: initial value where NESO has none yet"] += len(used)
            found = found.combine_first(rows)
    return found[columns]


def _weather(archive: Rows, recent: Rows, quirks: Quirks) -> pd.DataFrame:
    columns = ["temperature_c", "relative_humidity_pct"]
    found = pd.DataFrame(columns=columns, index=pd.DatetimeIndex([], tz="UTC"), dtype=np.float64)
    for rows in (archive, recent):
        if not rows.empty:
            hours = rows.drop_duplicates("start", keep="last").set_index("start")[columns].astype(np.float64)
            found = found.combine_first(hours)
    return pd.DataFrame({name: both_halves(found[name]) for name in columns})


def _day_ahead(rows: Rows, quirks: Quirks) -> pd.Series:
    if rows.empty:
        return empty()
    halves = [rows.assign(settlement_period=2 * rows["hour"] - 1), rows.assign(settlement_period=2 * rows["hour"])]
    both = labelled(pd.concat(halves), quirks, "day_ahead_price")
    return once(both, quirks, "day_ahead_price").sort_index()["price_gbp_per_mwh"]
