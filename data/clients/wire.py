"""What the clients share on the wire: rows with UTC instants, and errors that say what a host sent."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, TypeVar

import httpx
import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError


class AnswerError(ValueError):
    """A host answered, but not with what its documentation says.

    Attributes:
        status: Of the answer, if it was not 200 or 201.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def in_utc(instant: datetime) -> datetime:
    """The same instant in UTC.

    Raises:
        ValueError: It has no time zone.
    """
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone; write UTC as {instant.isoformat()}Z")
    return instant.astimezone(UTC)


def _day(value: object) -> object:
    """`2023-01-31`, `2023-01-31T00:00:00` and `31-JAN-2023` all stand for one day; pydantic judges the rest."""
    if not isinstance(value, str):
        return value
    try:
        return datetime.strptime(value, "%d-%b-%Y").date()
    except ValueError:
        return value[:10] if value[10:19].strip("T 0:") == "" else value


UtcInstant = Annotated[datetime, AfterValidator(in_utc)]
Day = Annotated[date, BeforeValidator(_day)]


class Row(BaseModel):
    """One row of an answer: fields that we do not know are left out, a missing one is an error."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False)


R = TypeVar("R", bound=Row)


async def get_json(http: httpx.AsyncClient, url: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """The parsed answer to a GET.

    Raises:
        AnswerError: The status is not 200, or the body is not JSON.
        httpx.HTTPError: The host could not be reached; see `data.clients.transport`.
    """
    response = await http.get(url, params=dict(parameters) if parameters else None)
    return json_of(response)


def json_of(response: httpx.Response) -> Any:
    """The parsed body of an answer of status 200 or 201; raises `AnswerError` otherwise."""
    where = f"{response.request.method} {response.url.host}{response.url.path}"
    if response.status_code not in (200, 201):
        message = f"{where} answered {response.status_code}: {response.text[:200]!r}"
        raise AnswerError(message, response.status_code)
    try:
        return json.loads(response.content)
    except ValueError as error:
        raise AnswerError(f"{where} answered no JSON but {response.text[:100]!r}") from error


def parsed(kind: type[R], records: Any, where: str) -> list[R]:
    """Records as rows of a model.

    Raises:
        AnswerError: `records` is no list, or one of them breaks the model.
    """
    try:
        return TypeAdapter(list[kind]).validate_python(records)  # type: ignore[valid-type]  # a type made at run time
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise AnswerError(
            f"{where} does not answer as documented: {first['msg']} at {place or 'the top'}, "
            f"got {str(first['input'])[:100]!r} ({error.error_count()} such problems)"
        ) from error


def frame(kind: type[Row], rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table with one column per field of the model, also when there are none."""
    return pd.DataFrame(
        [row.model_dump() for row in rows], columns=[n for n, f in kind.model_fields.items() if not f.exclude]
    )


def spans(start: datetime, end: datetime, longest: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """Cut [start, end) into half-open pieces of at most `longest`, without gap or overlap.

    Raises:
        ValueError: A bound has no time zone, or `end` is not after `start`.
    """
    start, end = in_utc(start), in_utc(end)
    if end <= start:
        raise ValueError(f"end {end} is not after start {start}; ask for at least one half-hour")
    while start < end:
        stop = min(start + longest, end)
        yield start, stop
        start = stop


def newest_by(key: str, rows: Sequence[R]) -> list[R]:
    """One row for each value of a field, the last one sent, in the order of that field."""
    found = {getattr(row, key): row for row in rows}
    return [found[value] for value in sorted(found)]
