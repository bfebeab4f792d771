"""One order on a page of its own: baseline, meter and commitment as a picture, and the half-hours of its statement."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from data.calendar import LOCAL_TIME_ZONE
from data.schema import HALF_HOUR

TEMPLATE: Final = "order.html.jinja"
HOUR: Final = timedelta(hours=1)
KW_PER_MWH: Final = 2000.0  # of a half-hour
WIDTH, HEIGHT = 960, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 44
TICKS: Final = 5


class Step(NamedTuple):
    """Power over one half-hour."""

    start: datetime
    kw: float


class Picture(NamedTuple):
    """What the template draws; every text is an SVG path or a number of pixels.

    Attributes:
        meter: Path of what was drawn.
        baseline: Path of what would have been.
        commitment: Path of what was promised at most.
        delivered: Area between baseline and meter.
        window: Left edge and width of the order.
        missing: Left edge and width of each half-hour without a reading.
        levels: (y, kW) of the grid.
        times: (x, local time) of the grid.
    """

    meter: str
    baseline: str
    commitment: str
    delivered: str
    window: tuple[float, float]
    missing: list[tuple[float, float]]
    levels: list[tuple[float, str]]
    times: list[tuple[float, str]]


def order_page(said: dict[str, Any]) -> str:
    """The page of an order.

    Args:
        said: From `dispatch.ledger.detail`.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names come from buyers
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    newest = said["statements"][-1] if said["statements"] else None
    return environment.get_template(TEMPLATE).render(
        order=said["order"],
        terms={"baseline": said["baseline"], "payment": said["payment"]},
        statement=newest,
        versions=said["statements"],
        picture=_picture(said, newest["rows"] if newest else []),
        size=(WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM),
        local=_local,
        outstanding=None if newest is None else _outstanding(newest, said["order"]),
    )


def _outstanding(newest: dict[str, Any], order: dict[str, Any]) -> str:
    return str(Decimal(newest["payable_gbp"]) - Decimal(order["received_gbp"]))


def _picture(said: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Picture | None:
    meter = [Step(datetime.fromisoformat(one["start"]), one["kwh"] * 2.0) for one in said["meter"]]
    told = [row for row in rows if row["baseline_mwh"] is not None]
    baseline = [Step(datetime.fromisoformat(row["start"]), float(row["baseline_mwh"]) * KW_PER_MWH) for row in told]
    commitment = [
        Step(one.start, one.kw - float(row["contracted_mwh"]) * KW_PER_MWH)
        for one, row in zip(baseline, told, strict=True)
    ]
    everything = [*meter, *baseline, *commitment]
    if not everything:
        return None
    start, end = (datetime.fromisoformat(said["order"][name]) for name in ("start", "end"))
    first = min(one.start for one in everything)
    last = max(end, *(one.start + HALF_HOUR for one in everything))
    levels = _levels(min(one.kw for one in everything), max(one.kw for one in everything))
    low, high = levels[0], levels[-1]

    def x(at: datetime) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * ((at - first) / (last - first)), 1)

    def y(kw: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (kw - low) / (high - low), 1)

    def stepped(steps: Sequence[Step]) -> str:
        words = []
        for i, one in enumerate(steps):
            joined = i > 0 and steps[i - 1].start + HALF_HOUR == one.start
            words.append(f"{'L' if joined else 'M'}{x(one.start)},{y(one.kw)}H{x(one.start + HALF_HOUR)}")
        return "".join(words)

    known = {one.start: one.kw for one in meter}
    boxes = [
        f"M{x(one.start)},{y(one.kw)}H{x(one.start + HALF_HOUR)}V{y(known[one.start])}H{x(one.start)}Z"
        for one in baseline
        if one.start in known
    ]
    gaps = [
        at
        for i in range(math.ceil((last - first) / HALF_HOUR))
        if (at := first + i * HALF_HOUR) not in known and start - HALF_HOUR < at < end
    ]
    return Picture(
        stepped(meter),
        stepped(baseline),
        stepped(commitment),
        "".join(boxes),
        (x(start), round(x(end) - x(start), 1)),
        [(x(at), round(x(at + HALF_HOUR) - x(at), 1)) for at in gaps],
        [(y(kw), f"{kw:,.0f}") for kw in levels],
        [(x(at), f"{_local(at.isoformat()):%H:%M}") for at in _hours(first, last)],
    )


def _levels(low: float, high: float) -> list[float]:
    """Round numbers of kW that span the data: from 0, what is sold of a large cluster would be a line."""
    rough = max(high - low, abs(high) / 10.0, 1.0) / TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if unit * factor >= rough)
    first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    return [i * step for i in range(first, last + 1)]


def _hours(first: datetime, last: datetime) -> list[datetime]:
    """Full hours, so many that their names do not touch."""
    every = max(math.ceil((last - first) / HOUR / 14), 1)
    begin = first + (-first.timestamp() % 3600) * timedelta(seconds=1)
    return [begin + i * every * HOUR for i in range(int((last - begin) / (every * HOUR)) + 1)]


def _local(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(ZoneInfo(LOCAL_TIME_ZONE))
