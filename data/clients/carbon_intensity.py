"""Carbon Intensity API: national and regional carbon intensity and the generation mix; CC BY 4.0, no key.

Source: https://carbon-intensity.github.io/api-definitions. Every time is UTC and written without seconds.
"""

import re
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import httpx
from pydantic import Field, ValidationInfo, field_validator

from data.clients.wire import AnswerError, Row, UtcInstant, get_json, newest_by, parsed, spans

LONGEST: Final = timedelta(days=14)
OUTWARD: Final = re.compile(r"[A-Z]{1,2}[0-9][A-Z0-9]?")
REGIONS: Final = range(1, 18)


class Intensity(Row):
    """Forecast and measured intensity in g/kWh; 0 is a value. The index word is the API's own: its bands move yearly.

    The stored forecast of a past half-hour is the last one made, so it is a nowcast and no day-ahead forecast.
    """

    forecast_g_per_kwh: float | None = Field(alias="forecast")
    actual_g_per_kwh: float | None = Field(alias="actual", default=None)
    index: str


class FuelShare(Row):
    """Share of a fuel in generation, per cent."""

    fuel: str
    share_pct: float = Field(alias="perc")


class NationalIntensity(Row):
    """National carbon intensity of a half-hour."""

    start: UtcInstant = Field(alias="from")
    end: UtcInstant = Field(alias="to")
    intensity: Intensity


class GenerationMix(Row):
    """National generation mix of a half-hour."""

    start: UtcInstant = Field(alias="from")
    end: UtcInstant = Field(alias="to")
    mix: tuple[FuelShare, ...] = Field(alias="generationmix")


class RegionalIntensity(Row):
    """Forecast of carbon intensity and mix in one region; the service publishes no regional outturn."""

    start: UtcInstant = Field(alias="from")
    end: UtcInstant = Field(alias="to")
    region_id: int
    region: str
    intensity: Intensity
    mix: tuple[FuelShare, ...] = Field(alias="generationmix", default=())

    @field_validator("mix", mode="before")
    @classmethod
    def _no_mix(cls, value: Any, info: ValidationInfo) -> Any:
        return () if value is None else value


class CarbonIntensity(NamedTuple):
    """The API, version 2.

    Attributes:
        http: The shared HTTP client.
        base_url: Without a trailing slash.
    """

    http: httpx.AsyncClient
    base_url: str

    async def national(self, start: datetime, end: datetime) -> list[NationalIntensity]:
        """National intensity of the half-hours that start in [start, end), in order."""
        rows: list[NationalIntensity] = []
        for low, high in spans(start, end, LONGEST):
            where = f"/intensity/{_instant(low)}/{_instant(high)}"
            rows += parsed(NationalIntensity, _listed(await self._data(where)), f"Carbon Intensity {where}")
        return [row for row in newest_by("start", rows) if start <= row.start < end]

    async def mix(self, start: datetime, end: datetime) -> list[GenerationMix]:
        """National generation mix of the half-hours that start in [start, end), in order."""
        rows: list[GenerationMix] = []
        for low, high in spans(start, end, LONGEST):
            where = f"/generation/{_instant(low)}/{_instant(high)}"
            rows += parsed(GenerationMix, _listed(await self._data(where)), f"Carbon Intensity {where}")
        return [row for row in newest_by("start", rows) if start <= row.start < end]

    async def region(self, region_id: int, start: datetime, end: datetime) -> list[RegionalIntensity]:
        """Intensity of one region, 1 to 17 (13 is London), in [start, end), in order."""
        if region_id not in REGIONS:
            raise ValueError(f"region_id is {region_id}; 1 to 17 are allowed, 13 is London")
        return await self._regional(f"regionid/{region_id}", start, end)

    async def postcode(self, outward: str, start: datetime, end: datetime) -> list[RegionalIntensity]:
        """Intensity of the region of a postcode, of which only the first half is sent, in [start, end), in order."""
        if not OUTWARD.fullmatch(outward):
            raise ValueError(f"postcode is {outward!r}; give its first half in capitals, like RG41")
        return await self._regional(f"postcode/{outward}", start, end)

    async def _regional(self, place: str, start: datetime, end: datetime) -> list[RegionalIntensity]:
        rows: list[RegionalIntensity] = []
        for low, high in spans(start, end, LONGEST):
            where = f"/regional/intensity/{_instant(low)}/{_instant(high)}/{place}"
            for region in _listed(await self._data(where)):
                name = {"region_id": region.get("regionid"), "region": region.get("shortname")}
                records = [name | row for row in region.get("data", []) if isinstance(row, dict)]
                rows += parsed(RegionalIntensity, records, f"Carbon Intensity {where}")
        return [row for row in newest_by("start", rows) if start <= row.start < end]

    async def _data(self, path: str) -> Any:
        answer = await get_json(self.http, self.base_url + path)
        if not isinstance(answer, dict) or "data" not in answer:
            raise AnswerError(f"Carbon Intensity {path} answered no data: {str(answer)[:200]}")
        return answer["data"]


def _listed(data: Any) -> list[dict[str, Any]]:
    """The service documents lists and sends single objects in some places."""
    rows = data if isinstance(data, list) else [data]
    if not all(isinstance(row, dict) for row in rows):
        raise AnswerError(f"Carbon Intensity sent {str(data)[:100]!r} where it documents objects")
    return rows


def _instant(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%MZ")
