"""The context that every Beckn message carries, read from and written to either dialect.

0.9.4 names the version `core_version` and the place `country` and `city`; 1.1.0 names them `version` and `location`.
"""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from server.beckn.wire import Code, Kind, Problem

DEFAULT_TTL: Final = timedelta(seconds=30)
CLOCK_TOLERANCE: Final = timedelta(seconds=30)
LONGEST: Final = 255  # characters of an id
MONTH: Final = timedelta(days=30)  # the only use of a month here is as a time to live
YEAR: Final = timedelta(days=365)

_DURATION: Final = re.compile(
    r"P(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,4})M)?(?:(?P<weeks>\d{1,4})W)?(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,7})M)?(?:(?P<seconds>\d{1,9}(?:\.\d{1,6})?)S)?)?",
    re.ASCII,
)


class Dialect(StrEnum):
    """Schema version that a message follows; its answer follows the same."""

    V0_9_4 = "0.9.4"
    V1_1_0 = "1.1.0"


class Context(NamedTuple):
    """Who says what to whom, in which dealing.

    Attributes:
        dialect: Which schema.
        domain: Kind of trade.
        country: As it came; countries are opaque here.
        city: As it came.
        version: As it came.
        action: The verb.
        bap_id: The buyer.
        bap_uri: Where the buyer is called back.
        bpp_id: The provider meant, None in a search for anyone.
        bpp_uri: Where it is.
        transaction_id: The dealing.
        message_id: The message.
        timestamp: When it was sent, UTC.
        ttl: How long it is valid.
    """

    dialect: Dialect
    domain: str
    country: str
    city: str
    version: str
    action: str
    bap_id: str
    bap_uri: str
    bpp_id: str | None
    bpp_uri: str | None
    transaction_id: str
    message_id: str
    timestamp: datetime
    ttl: timedelta


def read_context(body: dict[str, Any], action: str, domains: tuple[str, ...], now: datetime) -> Context:
    """Read and check the context of a request.

    Args:
        body: The whole message.
        action: The verb of the path that it came to.
        domains: Kinds of trade that we serve.
        now: The present instant, UTC.

    Raises:
        Problem: A field is missing or wrong, the action is another than the path's, or the message is stale.
    """
    said = body.get("context")
    if not isinstance(said, dict):
        raise _wrong("context", "it is missing; every message carries one")
    dialect = Dialect.V0_9_4 if "core_version" in said or "version" not in said else Dialect.V1_1_0
    if dialect is Dialect.V0_9_4:
        version, country, city = (_text(said, name) for name in ("core_version", "country", "city"))
    else:
        version = _text(said, "version")
        country, city = _place(said, "country"), _place(said, "city")
    context = Context(
        dialect,
        _text(said, "domain"),
        country,
        city,
        version,
        _text(said, "action"),
        _text(said, "bap_id"),
        _text(said, "bap_uri"),
        _text(said, "bpp_id") if "bpp_id" in said else None,
        _text(said, "bpp_uri") if "bpp_uri" in said else None,
        _text(said, "transaction_id"),
        _text(said, "message_id"),
        _instant(said, "timestamp"),
        _duration(said, "ttl") if "ttl" in said else DEFAULT_TTL,
    )
    if context.action != action:
        raise _wrong("context.action", f"{context.action[:40]!r} came to /{action}; they must be the same")
    if context.domain not in domains:
        raise _wrong("context.domain", f"{context.domain[:60]!r} is not traded here; we serve {', '.join(domains)}")
    if not _is_web_address(context.bap_uri):
        raise _wrong("context.bap_uri", "it must be an http or https address")
    _check_time(context, now)
    return context


def write_context(
    context: Context, action: str, bpp_id: str, bpp_uri: str, message_id: str, now: datetime
) -> dict[str, Any]:
    """The context of the callback to a request.

    Args:
        context: Of the request.
        action: Verb of the callback, such as `on_search`.
        bpp_id: Our name.
        bpp_uri: Our address.
        message_id: Of the callback.
        now: The present instant, UTC; a callback is never older than what it answers.
    """
    if context.dialect is Dialect.V0_9_4:
        where: dict[str, Any] = {
            "country": context.country,
            "city": context.city,
            "core_version": context.version,
        }
    else:
        place = {"country": {"code": context.country}, "city": {"code": context.city}}
        where = {"location": place, "version": context.version}
    return {
        "domain": context.domain,
        **where,
        "action": action,
        "bap_id": context.bap_id,
        "bap_uri": context.bap_uri,
        "bpp_id": bpp_id,
        "bpp_uri": bpp_uri,
        "transaction_id": context.transaction_id,
        "message_id": message_id,
        "timestamp": iso(max(now, context.timestamp)),
        "ttl": "PT30S",
    }


def iso(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(text: str) -> datetime:
    """Read an RFC 3339 instant.

    Raises:
        ValueError: It is none, or has no time zone.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; end it with Z or +00:00")
    return at.astimezone(UTC)


def duration(text: str) -> timedelta:
    """Read an ISO 8601 duration; a month counts 30 days and a year 365.

    Raises:
        ValueError: It is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None or text.endswith(("P", "T")):
        raise ValueError(f"{text[:40]!r} is no ISO 8601 duration such as PT30S")
    part = {name: float(value or 0.0) for name, value in found.groupdict().items()}
    return (
        part["years"] * YEAR
        + part["months"] * MONTH
        + timedelta(
            weeks=part["weeks"],
            days=part["days"],
            hours=part["hours"],
            minutes=part["minutes"],
            seconds=part["seconds"],
        )
    )


def _check_time(context: Context, now: datetime) -> None:
    if context.timestamp > now + CLOCK_TOLERANCE:
        raise _wrong("context.timestamp", f"{iso(context.timestamp)} is in the future; here it is {iso(now)}")
    if context.timestamp + context.ttl < now:
        valid = f"sent {iso(context.timestamp)} and valid {context.ttl.total_seconds():g} s"
        raise Problem(Kind.CONTEXT, Code.STALE, f"{valid}; here it is {iso(now)}: send it again", "context.ttl")


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value or len(value) > LONGEST:
        came = "nothing" if value is None else f"{type(value).__name__} of length {len(str(value))}"
        raise _wrong(f"context.{name}", f"it must be a text of 1 to {LONGEST} characters; {came} came")
    return value


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # an address in brackets that is none, a port above all ports
        return False


def _place(said: dict[str, Any], name: str) -> str:
    try:
        return _text({name: said["location"][name]["code"]}, name)
    except (KeyError, TypeError):
        raise _wrong(f"context.location.{name}.code", "it is missing") from None


def _instant(said: dict[str, Any], name: str) -> datetime:
    try:
        return instant(_text(said, name))
    except (ValueError, OverflowError) as problem:
        raise _wrong(f"context.{name}", f"it is no RFC 3339 instant: {problem}") from problem


def _duration(said: dict[str, Any], name: str) -> timedelta:
    try:
        return min(duration(_text(said, name)), YEAR)
    except (ValueError, OverflowError) as problem:
        raise _wrong(f"context.{name}", str(problem)) from problem


def _wrong(path: str, why: str) -> Problem:
    return Problem(Kind.CONTEXT, Code.INVALID_REQUEST, f"{path}: {why}", path)
