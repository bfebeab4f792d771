"""Open-Meteo: past weather and forecasts; CC BY 4.0, no key for non-commercial use.

Source: https://open-meteo.com/en/docs and https://open-meteo.com/en/docs/historical-weather-api (ERA5 reanalysis).
Times are asked for in GMT and come without a zone.
"""

from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

import httpx

from data.clients.wire import AnswerError, Row, UtcInstant, get_json, parsed

LONDON: Final = (51.51, -0.13)  # latitude and longitude of the weather columns
VARIABLES: Final = ("temperature_2m", "relative_humidity_2m")
FIELDS: Final = ("temperature_c", "relative_humidity_pct")


class WeatherHour(Row):
    """Air two metres above ground at the start of an hour; None where the service has no value."""

    start: UtcInstant
    temperature_c: float | None
    relative_humidity_pct: float | None


class OpenMeteo(NamedTuple):
    """The forecast and the archive service, for one place.

    Attributes:
        http: The shared HTTP client.
        forecast_url: Base URL of forecasts.
        archive_url: Base URL of the past.
        place: Latitude and longitude; the service answers for the nearest point of its grid.
    """

    http: httpx.AsyncClient
    forecast_url: str
    archive_url: str
    place: tuple[float, float] = LONDON

    async def archive(self, first: date, last: date) -> list[WeatherHour]:
        """Reanalysis of the UTC days `first` to `last`; the newest days come some days late, as None."""
        return await self._hours(f"{self.archive_url}/archive", first, last)

    async def forecast(self, first: date, last: date) -> list[WeatherHour]:
        """Newest weather model runs for the UTC days `first` to `last`, up to 92 days back and 15 ahead."""
        return await self._hours(f"{self.forecast_url}/forecast", first, last)

    async def _hours(self, url: str, first: date, last: date) -> list[WeatherHour]:
        latitude, longitude = self.place
        answer = await get_json(
            self.http,
            url,
            {
                "latitude": latitude,
                "longitude": longitude,
                "start_date": first.isoformat(),
                "end_date": last.isoformat(),
                "hourly": ",".join(VARIABLES),
                "timezone": "GMT",
            },
        )
        hourly = answer.get("hourly") if isinstance(answer, dict) else None
        if not isinstance(hourly, dict) or answer.get("utc_offset_seconds") != 0:
            raise AnswerError(f"Open-Meteo answered no hours in GMT: {str(answer)[:200]}")
        return parsed(WeatherHour, _rows(hourly), "Open-Meteo")


def _rows(hourly: dict[str, Any]) -> list[dict[str, Any]]:
    """The service sends one list of times and one of each variable."""
    lists = [values for name in ("time", *VARIABLES) if isinstance(values := hourly.get(name), list)]
    if len(lists) != 1 + len(VARIABLES) or len({len(values) for values in lists}) != 1:
        raise AnswerError(f"Open-Meteo must send equally long lists of time and {VARIABLES}; it sent {list(hourly)}")
    times = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in lists[0]]
    return [dict(zip(("start", *FIELDS), row, strict=True)) for row in zip(times, *lists[1:], strict=True)]
