"""NESO data portal: demand outturn, day-ahead demand and embedded generation forecasts; NESO Open Data Licence, no key.

Source: https://www.neso.energy/data-portal, data sets `historic-demand-data`, `daily-demand-update`,
`1-day-ahead-demand-forecast` and `embedded-wind-and-solar-forecasts`.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BeforeValidator, Field

from data.calendar import PERIOD, period_start
from data.clients.ckan import PAGE, Ckan, Resource, only
from data.clients.wire import AnswerError, Day, Row, UtcInstant, parsed

ARCHIVE: Final = "Embedded Solar and Wind Forecast Archive"


def _utc(value: object) -> object:
    """The portal writes UTC instants without a time zone."""
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) and len(value) >= 16 else value


PortalInstant = Annotated[UtcInstant, BeforeValidator(_utc)]


class Demand(Row):
    """Metered national demand and NESO's estimate of embedded wind and solar, which lower it."""

    settlement_date: Day = Field(alias="SETTLEMENT_DATE")
    settlement_period: int = Field(alias="SETTLEMENT_PERIOD", ge=1, le=50)
    demand_mw: float | None = Field(alias="ND")
    embedded_wind_mw: float | None = Field(alias="EMBEDDED_WIND_GENERATION")
    embedded_solar_mw: float | None = Field(alias="EMBEDDED_SOLAR_GENERATION")
    kind: str = Field(alias="FORECAST_ACTUAL_INDICATOR", default="A")


class CardinalPoint(Row):
    """A turning point of the demand forecast for a day: fixed, or the peak or trough between two local times (HHMM).

    2400 is the end of the day. The points are labelled by the end of their half-hour.
    """

    settlement_date: Day = Field(alias="TARGETDATE")
    from_hhmm: int = Field(alias="CP_ST_TIME", ge=0, le=2400)
    to_hhmm: int = Field(alias="CP_END_TIME", ge=0, le=2400)
    demand_mw: float = Field(alias="FORECASTDEMAND")
    published_at: PortalInstant = Field(alias="FORECAST_TIMESTAMP")


class EmbeddedForecast(Row):
    """One issue's forecast of embedded wind and solar output for one period.

    `TIME_GMT` is undocumented and names the END of the period; a row that says otherwise is refused, because then the
    label cannot be trusted either.
    """

    settlement_date: Day = Field(alias="SETTLEMENT_DATE")
    settlement_period: int = Field(alias="SETTLEMENT_PERIOD", ge=1, le=50)
    published_at: PortalInstant = Field(alias="Forecast_Datetime")
    embedded_wind_mw: float = Field(alias="EMBEDDED_WIND_FORECAST")
    embedded_solar_mw: float = Field(alias="EMBEDDED_SOLAR_FORECAST")
    end_day: Day = Field(alias="DATE_GMT", exclude=True)
    end_time: time = Field(alias="TIME_GMT", exclude=True)


class Neso(NamedTuple):
    """The data sets of the portal that GridPilot reads.

    Attributes:
        portal: The portal.
    """

    portal: Ckan

    async def historic_demand(self, year: int) -> list[Demand]:
        """Demand of a calendar year, as far as the portal has it."""
        resource = only(await self.portal.resources("historic-demand-data"), f"Historic Demand Data {year}")
        return await self._demand(resource)

    async def recent_demand(self) -> list[Demand]:
        """Demand of the last weeks, ahead of the yearly files; the rows of days to come are left out."""
        resource = only(await self.portal.resources("daily-demand-update"), "Demand Data Update")
        return [row for row in await self._demand(resource) if row.kind == "A"]

    async def day_ahead_demand(self, first: date, last: date) -> list[CardinalPoint]:
        """Cardinal points of the day-ahead demand forecasts for the settlement dates `first` to `last`."""
        packages = await self.portal.resources("1-day-ahead-demand-forecast")
        resource = only(packages, "Historic Day Ahead Demand Forecasts")
        days = _between("TARGETDATE", first, last + timedelta(days=1))
        records = await self.portal.query(f'SELECT * FROM "{resource.id}" WHERE {days}')
        return parsed(CardinalPoint, records, "NESO day-ahead demand forecast")

    async def embedded_forecasts(self, first: date, last: date, hours: tuple[int, int]) -> list[EmbeddedForecast]:
        """Archived forecasts for the settlement dates `first` to `last` of one year, issued the day before.

        Args:
            first: First settlement date.
            last: Last settlement date.
            hours: Issues of these UTC hours of the day before: from the first, before the second. The archive holds an
                issue an hour for two weeks ahead, so all of them are far too many.
        """
        found = await self.portal.resources("embedded-wind-and-solar-forecasts")
        years = {first.year, (first - timedelta(days=1)).year}  # the first issue may stand with the year before
        archives = [r for r in found if any(r.name.startswith(f"{ARCHIVE} {year}") for year in years)]
        if not archives:
            raise AnswerError(f"no archive of embedded forecasts for {first.year}; there are {[r.name for r in found]}")
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        wanted = " OR ".join(
            f"({_between('SETTLEMENT_DATE', day, day + timedelta(days=1))} AND {_issue(day, hours)})" for day in days
        )
        rows: list[EmbeddedForecast] = []
        for archive in archives:
            records = await self.portal.query(f'SELECT * FROM "{archive.id}" WHERE {wanted}')
            rows += _embedded(records, archive.name)
        return rows

    async def embedded_forecast_now(self) -> list[EmbeddedForecast]:
        """The newest forecast, up to two weeks ahead, stamped with the time at which it was put up."""
        found = await self.portal.resources("embedded-wind-and-solar-forecasts")
        resource = only(found, "Embedded Solar and Wind Forecast")
        records = await self.portal.newest_rows(resource.id, "_id asc", PAGE)
        stamp = resource.modified_at()
        return _embedded([record | {"Forecast_Datetime": stamp} for record in records], resource.name)

    async def _demand(self, resource: Resource) -> list[Demand]:
        records = await self.portal.newest_rows(resource.id, "_id asc", PAGE)
        return parsed(Demand, records, f"NESO {resource.name}")


def _embedded(records: list[dict[str, Any]], name: str) -> list[EmbeddedForecast]:
    rows = parsed(EmbeddedForecast, records, f"NESO {name}")
    starts = period_start([r.settlement_date for r in rows], [r.settlement_period for r in rows])
    for row, start in zip(rows, starts, strict=True):
        end = datetime.combine(row.end_day, row.end_time, UTC)
        if start + PERIOD != end:
            raise AnswerError(
                f"NESO {name}: period {row.settlement_period} of {row.settlement_date} starts {start}, but TIME_GMT "
                f"says {end}, which has always been the period's end; the labels cannot be trusted"
            )
    return rows


def _between(column: str, first: date, end: date) -> str:
    """Right for dates kept as ISO text and for timestamps alike."""
    return f"\"{column}\" >= '{first}' AND \"{column}\" < '{end}'"


def _issue(day: date, hours: tuple[int, int]) -> str:
    before = day - timedelta(days=1)
    low, high = (f"{before}T{hour:02}:00:00" for hour in hours)
    return f"\"Forecast_Datetime\" >= '{low}' AND \"Forecast_Datetime\" < '{high}'"
