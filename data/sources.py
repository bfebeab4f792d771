"""What the grid table is made of: every source, in which pieces it is asked for, and when a piece is final."""

import calendar
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import httpx
import pandas as pd

from data.calendar import LOCAL_TIME_ZONE
from data.clients import elexon, lccc, neso, open_meteo
from data.clients.ckan import Ckan
from data.clients.endpoints import Endpoints
from data.clients.wire import frame
from data.publication import RULES, DayAhead

DAY: Final = timedelta(days=1)
ZONE: Final = ZoneInfo(LOCAL_TIME_ZONE)


class Services(NamedTuple):
    """One client of each service that the table needs."""

    elexon: elexon.Elexon
    neso: neso.Neso
    lccc: lccc.Lccc
    weather: open_meteo.OpenMeteo


def services(http: httpx.AsyncClient, urls: Endpoints) -> Services:
    """All clients over one HTTP client."""
    return Services(
        elexon.Elexon(http, urls.elexon),
        neso.Neso(Ckan(http, urls.neso)),
        lccc.Lccc(Ckan(http, urls.lccc)),
        open_meteo.OpenMeteo(http, urls.open_meteo, urls.open_meteo_archive),
    )


class Chunk(NamedTuple):
    """Settlement dates `first` to `last` that are asked for together."""

    key: str
    first: date
    last: date


def daily(day: date) -> Chunk:
    """The day itself."""
    return Chunk(day.isoformat(), day, day)


def weekly(day: date) -> Chunk:
    """The week from Monday."""
    monday = day - timedelta(days=day.weekday())
    return Chunk(monday.isoformat(), monday, monday + timedelta(days=6))


def monthly(day: date) -> Chunk:
    """The calendar month."""
    first = day.replace(day=1)
    return Chunk(f"{first:%Y-%m}", first, first.replace(day=calendar.monthrange(day.year, day.month)[1]))


def yearly(day: date) -> Chunk:
    """The calendar year."""
    return Chunk(f"{day:%Y}", date(day.year, 1, 1), date(day.year, 12, 31))


def midnight(day: date, days_later: int = 0) -> datetime:
    """Start of a local day, in UTC."""
    return datetime.combine(day + days_later * DAY, time(), ZONE).astimezone(UTC)


def forecast_cutoff(day: date) -> datetime:
    """When a day-ahead forecast for a settlement date must have been issued to count, by `data.publication`."""
    rule = RULES["demand_forecast_da_mw"]
    assert isinstance(rule, DayAhead)
    return datetime.combine(day - DAY, time(int(rule.local_hour)), ZONE).astimezone(UTC)


Fetch = Callable[[Services, Chunk, datetime], Awaitable[pd.DataFrame]]


class Source(NamedTuple):
    """A series of one service.

    Attributes:
        chunk: The piece in which a settlement date is asked for.
        fetch: Ask for a piece; the third argument is the time now.
        lead: How long before a day begins its first value can be there.
        settles: How long after a piece's last day its values may still be restated.
        refresh: A piece that is still growing is asked for again after this long, one being restated daily.
        lasts: How long after its last day the service still has a piece; None for ever.
        grows: Whether a new answer is added to the old one, because the service forgets what it said before.
    """

    chunk: Callable[[date], Chunk]
    fetch: Fetch
    lead: timedelta = timedelta(0)
    settles: timedelta = 2 * DAY
    refresh: timedelta = timedelta(0)
    lasts: timedelta | None = None
    grows: bool = False

    def due(self, chunk: Chunk, fetched_at: datetime | None, now: datetime) -> bool:
        """Whether to ask for a piece now, given when it was last fetched."""
        end = midnight(chunk.last, 1)
        if now < midnight(chunk.first) - self.lead or (self.lasts is not None and now >= end + self.lasts):
            return False
        if fetched_at is None:
            return True
        wait = self.refresh if now < end + DAY else max(self.refresh, DAY)
        return fetched_at < end + self.settles and now - fetched_at >= wait


async def _system_prices(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    return frame(elexon.SystemPrice, await s.elexon.system_prices(chunk.first))


async def _market_index(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    return frame(elexon.MarketIndex, await s.elexon.market_index(midnight(chunk.first), midnight(chunk.last, 1)))


async def _fuel_mix(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    return frame(elexon.FuelOutput, await s.elexon.fuel_mix(chunk.first, chunk.last))


async def _demand_outturn(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    return frame(elexon.DemandOutturn, await s.elexon.demand_outturn(chunk.first, chunk.last))


async def _demand_forecast(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    cutoff = forecast_cutoff(chunk.first)
    rows = await s.elexon.demand_forecasts(cutoff.replace(hour=0, minute=0), cutoff)
    return frame(elexon.DemandForecast, [row for row in rows if row.settlement_date == chunk.first])


async def _wind_forecast(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    cutoff = forecast_cutoff(chunk.first)
    low, high = midnight(chunk.first), midnight(chunk.first, 1)
    rows = await s.elexon.wind_forecasts(cutoff.replace(hour=0, minute=0), cutoff)
    return frame(elexon.WindForecast, [row for row in rows if low <= row.start < high])


async def _neso_demand(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    return frame(neso.Demand, await s.neso.historic_demand(chunk.first.year))


async def _neso_demand_recent(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    rows = await s.neso.recent_demand()
    return frame(neso.Demand, [row for row in rows if chunk.first <= row.settlement_date <= chunk.last])


async def _neso_demand_forecast(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    return frame(neso.CardinalPoint, await s.neso.day_ahead_demand(chunk.first, chunk.last))


async def _embedded_forecast(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    cutoff = forecast_cutoff(
        date(2000, 1, 1)
    ).hour  # in winter local time is UTC; in summer the cut-off is an hour earlier
    rows = await s.neso.embedded_forecasts(chunk.first, chunk.last, (cutoff - 3, cutoff))
    return frame(neso.EmbeddedForecast, rows)


async def _embedded_forecast_now(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    rows = await s.neso.embedded_forecast_now()
    return frame(neso.EmbeddedForecast, [row for row in rows if row.settlement_date == chunk.first])


async def _day_ahead_price(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    rows = await s.lccc.day_ahead_prices(chunk.first, now.date())
    return frame(lccc.ReferencePrice, [row for row in rows if row.settlement_date <= chunk.last])


async def _weather(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    # A summer day begins an hour before midnight UTC.
    rows = await s.weather.archive(chunk.first - DAY, min(chunk.last, now.date()))
    return frame(open_meteo.WeatherHour, rows)


async def _weather_recent(s: Services, chunk: Chunk, now: datetime) -> pd.DataFrame:
    rows = await s.weather.forecast(chunk.first - DAY, min(chunk.last, now.date()))
    return frame(open_meteo.WeatherHour, [row for row in rows if row.start < now])


HOUR: Final = timedelta(hours=1)
CUTOFF_PASSED: Final = -37 * HOUR  # after a day's end: 11:00 local the day before, on clock-change days 10:00 or 12:00
SOURCES: Final[dict[str, Source]] = {
    "system_prices": Source(daily, _system_prices, settles=30 * DAY),  # runs II and SF; later ones move little
    "market_index": Source(weekly, _market_index),
    "fuel_mix": Source(weekly, _fuel_mix),
    "demand_outturn": Source(weekly, _demand_outturn),
    "demand_forecast": Source(daily, _demand_forecast, lead=DAY, settles=CUTOFF_PASSED, refresh=HOUR / 4),
    "wind_forecast": Source(daily, _wind_forecast, lead=DAY, settles=CUTOFF_PASSED, refresh=HOUR / 4),
    "neso_demand": Source(yearly, _neso_demand, settles=60 * DAY, refresh=DAY),
    "neso_demand_recent": Source(monthly, _neso_demand_recent, settles=30 * DAY, refresh=6 * HOUR, lasts=30 * DAY),
    "neso_demand_forecast": Source(yearly, _neso_demand_forecast, refresh=6 * HOUR),
    "embedded_forecast": Source(monthly, _embedded_forecast, settles=200 * DAY, refresh=DAY),
    "embedded_forecast_now": Source(
        daily, _embedded_forecast_now, lead=DAY, settles=CUTOFF_PASSED, refresh=HOUR, lasts=-DAY, grows=True
    ),
    "day_ahead_price": Source(yearly, _day_ahead_price, lead=DAY, settles=7 * DAY, refresh=HOUR),
    "weather": Source(monthly, _weather, settles=10 * DAY, refresh=6 * HOUR),
    "weather_recent": Source(monthly, _weather_recent, refresh=HOUR, settles=10 * DAY, lasts=10 * DAY),
}
