"""Elexon Insights Solution: prices, generation and forecasts of the GB market; open, no key.

Source: Elexon Insights API, https://developer.data.elexon.co.uk. Settlement dates are local, `startTime` is UTC.
"""

from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

import httpx
from pydantic import Field

from data.clients.wire import AnswerError, R, Row, UtcInstant, get_json, parsed, spans

LONGEST: Final = timedelta(days=7)
LONGEST_DEMAND_FORECAST: Final = timedelta(days=1)


class SystemPrice(Row):
    """Imbalance settlement of one period. Since P305 (November 2015) buy and sell price are one.

    A positive net imbalance volume means that the system was short. `created_at` says when this version was made:
    prices come about 14 minutes after the period and are restated on the next working day and by later runs.
    """

    settlement_date: date = Field(alias="settlementDate")
    settlement_period: int = Field(alias="settlementPeriod", ge=1, le=50)
    start: UtcInstant = Field(alias="startTime")
    created_at: UtcInstant = Field(alias="createdDateTime")
    sell_gbp_per_mwh: float | None = Field(alias="systemSellPrice")
    buy_gbp_per_mwh: float | None = Field(alias="systemBuyPrice")
    net_imbalance_volume_mwh: float | None = Field(alias="netImbalanceVolume")


class MarketIndex(Row):
    """Short-term reference price of one provider; a volume of 0 means that it has none, whatever the price says."""

    settlement_date: date = Field(alias="settlementDate")
    settlement_period: int = Field(alias="settlementPeriod", ge=1, le=50)
    start: UtcInstant = Field(alias="startTime")
    provider: str = Field(alias="dataProvider")
    price_gbp_per_mwh: float = Field(alias="price")
    volume_mwh: float = Field(alias="volume", ge=0)


class FuelOutput(Row):
    """Mean output of one fuel, or flow over one interconnector (imports positive), in a period."""

    settlement_date: date = Field(alias="settlementDate")
    settlement_period: int = Field(alias="settlementPeriod", ge=1, le=50)
    start: UtcInstant = Field(alias="startTime")
    fuel: str = Field(alias="fuelType")
    output_mw: float | None = Field(alias="generation")


class DemandOutturn(Row):
    """Initial outturn of national demand, out about a quarter of an hour after the period."""

    settlement_date: date = Field(alias="settlementDate")
    settlement_period: int = Field(alias="settlementPeriod", ge=1, le=50)
    start: UtcInstant = Field(alias="startTime")
    demand_mw: float | None = Field(alias="initialDemandOutturn")


class DemandForecast(Row):
    """One issue's forecast of national demand (NDF) for one period."""

    settlement_date: date = Field(alias="settlementDate")
    settlement_period: int = Field(alias="settlementPeriod", ge=1, le=50)
    start: UtcInstant = Field(alias="startTime")
    published_at: UtcInstant = Field(alias="publishTime")
    boundary: str
    demand_mw: float | None = Field(alias="demand")


class WindForecast(Row):
    """One issue's forecast of metered wind output for one hour."""

    start: UtcInstant = Field(alias="startTime")
    published_at: UtcInstant = Field(alias="publishTime")
    output_mw: float | None = Field(alias="generation")


class Elexon(NamedTuple):
    """The Insights API.

    Attributes:
        http: The shared HTTP client.
        base_url: Without a trailing slash.
    """

    http: httpx.AsyncClient
    base_url: str

    async def system_prices(self, day: date) -> list[SystemPrice]:
        """Imbalance prices and volumes of a settlement date, of the latest settlement run."""
        return await self._rows(SystemPrice, f"/balancing/settlement/system-prices/{day.isoformat()}", {})

    async def market_index(self, start: datetime, end: datetime) -> list[MarketIndex]:
        """Market index of all providers for periods that start in [start, end)."""
        rows = []
        for low, high in spans(start, end, LONGEST):
            window = {"from": _instant(low), "to": _instant(high)}  # both ends count for the service
            found = await self._rows(MarketIndex, "/balancing/pricing/market-index", window)
            rows += [row for row in found if low <= row.start < high]
        return rows

    async def fuel_mix(self, first: date, last: date) -> list[FuelOutput]:
        """Half-hourly output by fuel (FUELHH) of the settlement dates `first` to `last`, at most a week."""
        return await self._dates(FuelOutput, "/datasets/FUELHH", first, last)

    async def demand_outturn(self, first: date, last: date) -> list[DemandOutturn]:
        """Initial demand outturn of the settlement dates `first` to `last`, at most a week."""
        return await self._dates(DemandOutturn, "/demand/outturn", first, last)

    async def demand_forecasts(self, start: datetime, end: datetime) -> list[DemandForecast]:
        """National demand forecasts issued in [start, end), every issue of them."""
        rows = []
        for low, high in spans(start, end, LONGEST_DEMAND_FORECAST):
            found = await self._published(DemandForecast, "/datasets/NDF", low, high)
            rows += [row for row in found if row.boundary == "N" and low <= row.published_at < high]
        return rows

    async def wind_forecasts(self, start: datetime, end: datetime) -> list[WindForecast]:
        """Wind forecasts issued in [start, end), every issue of them."""
        rows = []
        for low, high in spans(start, end, LONGEST):
            found = await self._published(WindForecast, "/datasets/WINDFOR", low, high)
            rows += [row for row in found if low <= row.published_at < high]
        return rows

    async def _dates(self, kind: type[R], path: str, first: date, last: date) -> list[R]:
        if not timedelta(0) <= last - first < LONGEST:
            raise ValueError(f"{first} to {last} is no span of 1 to {LONGEST.days} days; ask for it in pieces")
        window = {"settlementDateFrom": first.isoformat(), "settlementDateTo": last.isoformat()}
        return await self._rows(kind, path, window)

    async def _published(self, kind: type[R], path: str, low: datetime, high: datetime) -> list[R]:
        window = {"publishDateTimeFrom": _instant(low), "publishDateTimeTo": _instant(high)}
        return await self._rows(kind, path, window)

    async def _rows(self, kind: type[R], path: str, parameters: dict[str, str]) -> list[R]:
        answer = await get_json(self.http, self.base_url + path, parameters | {"format": "json"})
        return parsed(kind, _data(answer, path), f"Elexon {path}")


def _data(answer: Any, path: str) -> Any:
    """Rows come bare from streams and wrapped in an object elsewhere."""
    if isinstance(answer, dict):
        if "data" not in answer:
            raise AnswerError(f"Elexon {path} answered an object without data: {str(answer)[:200]}")
        return answer["data"]
    return answer


def _instant(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%MZ")
