"""What a cluster would have drawn had nothing been sold: the baseline that delivery is measured against.

Mean of the X highest of the last Y eligible days, half-hour by half-hour of the local day, perhaps moved by what the
cluster drew on the day itself before gate closure. Days on which turn-down was sold, days of a clock change and days
with a missing reading are not eligible. Names follow the Digital Energy Grid (10_of_10, 5_of_10, 3_of_5). `bl01_like`
follows secondary descriptions of GB settlement's BL01 (Elexon, Baselining Methodology Document); its text was not at
hand, so do not take it for BL01.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from data.calendar import GATE_CLOSURE, LOCAL_TIME_ZONE
from data.schema import HALF_HOUR

LOCAL: Final = ZoneInfo(LOCAL_TIME_ZONE)
DAY: Final = timedelta(days=1)


class Method(NamedTuple):
    """Parameters of a method; a name stands for the same ones for ever, since orders are settled by it.

    Attributes:
        days: Y, eligible days looked back on.
        highest: X, how many of them count.
        rest_days: Y and X on weekends and bank holidays, each kind of day then looking at its own; None where all
            days are alike.
        adjusted_h: Length of the window before gate closure by which the baseline is moved; 0 for not at all.
        adjusted_fraction: Most that it is moved by, of its mean; infinite for no limit.
        look_back_days: Days beyond which nothing counts.
    """

    days: int
    highest: int
    rest_days: int | None = None
    adjusted_h: float = 0.0
    adjusted_fraction: float = 0.2
    look_back_days: int = 60


METHODS: Final = {
    "10_of_10": Method(10, 10),
    "5_of_10": Method(10, 5),
    "3_of_5": Method(5, 3),
    "10_of_10_adjusted": Method(10, 10, adjusted_h=3.0),
    "5_of_10_adjusted": Method(10, 5, adjusted_h=3.0),
    "3_of_5_adjusted": Method(5, 3, adjusted_h=3.0),
    "bl01_like": Method(10, 10, rest_days=4, adjusted_h=3.0, adjusted_fraction=float("inf")),
}


class Baseline(NamedTuple):
    """What would have been drawn.

    Attributes:
        kwh: Of each half-hour asked for.
        days: Local dates that it is made of.
        adjustment_kwh: Added to every half-hour, already in `kwh`.
    """

    kwh: tuple[float, ...]
    days: tuple[date, ...]
    adjustment_kwh: float


class NoBaseline(Exception):
    """It cannot be said yet; the text says what is missing."""


def baseline(
    method: Method,
    metered_kwh: Mapping[datetime, float],
    starts: Sequence[datetime],
    sold: Collection[datetime],
) -> Baseline:
    """What would have been drawn in the half-hours of an order.

    Args:
        method: How to tell.
        metered_kwh: What was drawn in each half-hour that there is a reading of, by its start in UTC.
        starts: The half-hours of the order, in order, UTC.
        sold: Half-hours in which turn-down was sold, of this order and of others.

    Raises:
        NoBaseline: There is no eligible day, or readings before gate closure are missing.
    """
    first_day = _local(starts[0]).date()
    event_days = {_local(start).date() for start in sold}
    days: list[date] = []
    kwh: dict[datetime, float] = {}
    for day in sorted({_local(start).date() for start in starts}):
        of_day = [start for start in starts if _local(start).date() == day]
        chosen = _eligible(method, metered_kwh, of_day, day, first_day, event_days)
        if not chosen:
            raise NoBaseline(f"no eligible day with readings in the {method.look_back_days} days before {first_day}")
        days += chosen
        kwh |= {start: _mean(method, metered_kwh, start, chosen) for start in of_day}
    adjustment_kwh = _adjustment_kwh(method, metered_kwh, starts[0], days, set(sold), sum(kwh.values()) / len(kwh))
    return Baseline(tuple(kwh[start] + adjustment_kwh for start in starts), tuple(sorted(set(days))), adjustment_kwh)


def _local(at: datetime) -> datetime:
    return at.astimezone(LOCAL)


def _on(day: date, start: datetime) -> datetime:
    """The half-hour of another local day that the clock on the wall names the same."""
    wall = _local(start)
    return datetime(day.year, day.month, day.day, wall.hour, wall.minute, tzinfo=LOCAL).astimezone(UTC)


def _eligible(
    method: Method,
    metered_kwh: Mapping[datetime, float],
    starts: Sequence[datetime],
    day: date,
    before: date,
    event_days: Collection[date],
) -> list[date]:
    """The newest days before `before` that count for the half-hours of a day, newest first."""
    rests = method.rest_days is not None and not _is_working(day)
    wanted = method.rest_days if rests and method.rest_days is not None else method.days
    found: list[date] = []
    for back in range(1, method.look_back_days + 1):
        other = before - back * DAY
        if (
            len(found) < wanted
            and other not in event_days
            and _has_24_hours(other)
            and (method.rest_days is None or _is_working(other) == _is_working(day))
            and all(_on(other, start) in metered_kwh for start in starts)
        ):
            found.append(other)
    return found


def _mean(method: Method, metered_kwh: Mapping[datetime, float], start: datetime, days: Sequence[date]) -> float:
    highest = sorted((metered_kwh[_on(day, start)] for day in days), reverse=True)[: method.highest]
    return sum(highest) / len(highest)


def _adjustment_kwh(
    method: Method,
    metered_kwh: Mapping[datetime, float],
    start: datetime,
    days: Sequence[date],
    sold: Collection[datetime],
    mean_kwh: float,
) -> float:
    if method.adjusted_h == 0.0:
        return 0.0
    gate, count = start - GATE_CLOSURE, round(method.adjusted_h / 0.5)
    window = [gate - i * HALF_HOUR for i in range(count, 0, -1)]
    window = [at for at in window if at not in sold]
    missing = [at for at in window if at not in metered_kwh]
    if missing:
        raise NoBaseline(f"the reading of {missing[0]:%Y-%m-%d %H:%M}Z, before gate closure, is missing")
    usable = [day for day in days if all(_on(day, at) in metered_kwh for at in window)]
    if not window or not usable:
        return 0.0
    more = [metered_kwh[at] - _mean(method, metered_kwh, at, usable) for at in window]
    most_kwh = method.adjusted_fraction * abs(mean_kwh)
    return min(max(sum(more) / len(more), -most_kwh), most_kwh)


@lru_cache(maxsize=4096)
def _has_24_hours(day: date) -> bool:
    midnight = datetime(day.year, day.month, day.day, tzinfo=LOCAL)
    following = day + DAY
    end = datetime(following.year, following.month, following.day, tzinfo=LOCAL)
    return end.astimezone(UTC) - midnight.astimezone(UTC) == DAY


@lru_cache(maxsize=64)
def _bank_holidays(year: int) -> frozenset[date]:
    import holidays  # loads slowly, and only settlement needs it

    return frozenset(holidays.country_holidays("GB", subdiv="ENG", years=year))


def _is_working(day: date) -> bool:
    return day.weekday() < 5 and day not in _bank_holidays(day.year)
