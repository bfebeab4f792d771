"""What an order delivered and earned: one statement per order, made anew when readings change, every version kept.

A statement follows from the orders, the readings and the terms alone (`statement_of`), so that whoever has the audit
log can make it again (`disagreements`). Volumes have four decimals and money is exact until the total is rounded.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from data.calendar import settlement_date, settlement_period
from data.schema import HALF_HOUR
from dispatch.baseline import METHODS, NoBaseline, baseline
from dispatch.flex_orders import RESERVING, FlexOrder, OrderState
from dispatch.metering import ACTUAL, SYSTEM_PRICE, Reading, meter_of
from dispatch.payment import RULES, Period, exact, money, shares, volume

NOTHING: Final = Decimal("0.0000")
KWH_PER_MWH: Final = Decimal(1000)

Readings = Mapping[str, Mapping[datetime, Reading]]


class Row(NamedTuple):
    """One settlement period of an order; volumes and money are decimals in text, None where they cannot be told yet.

    Attributes:
        settlement_date: Local date.
        period: Number in it, 1 to 46, 48 or 50.
        start: UTC.
        contracted_mwh: Turn-down sold.
        baseline_mwh: What the cluster would have drawn.
        metered_mwh: What it drew.
        delivered_mwh: The order's part of the difference.
        shortfall_mwh: What was sold and not delivered.
        gbp: Its money, unrounded.
        status: `settled`, `estimated` where the reading is, `withheld` where something is missing.
    """

    settlement_date: str
    period: int
    start: str
    contracted_mwh: str
    baseline_mwh: str | None
    metered_mwh: str | None
    delivered_mwh: str | None
    shortfall_mwh: str | None
    gbp: str | None
    status: str


class Statement(NamedTuple):
    """What an order comes to.

    Attributes:
        order_id: Which.
        status: `settled`, `estimated`, `withheld` (a part is missing and not paid yet) or `cancelled`.
        reason: Why it is withheld or cancelled; empty otherwise.
        baseline: Name of the method.
        baseline_days: Local dates that the baseline is made of.
        adjustment_mwh: What it was moved by in each half-hour because of the day itself.
        payment: Name of the rule.
        price_gbp_per_mwh: At which was sold.
        contracted_mwh: Sum of the rows.
        delivered_mwh: Sum of the rows that are told.
        shortfall_mwh: Sum of the rows that are told.
        performance_fraction: What was delivered of what was sold, never above 1; of the rows that are told.
        payable_gbp: Rounded sum of the rows.
        rows: Its half-hours.
    """

    order_id: str
    status: str
    reason: str
    baseline: str
    baseline_days: tuple[str, ...]
    adjustment_mwh: str
    payment: str
    price_gbp_per_mwh: str
    contracted_mwh: str
    delivered_mwh: str
    shortfall_mwh: str
    performance_fraction: str
    payable_gbp: str
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            **self._asdict(),
            "baseline_days": list(self.baseline_days),
            "rows": [row._asdict() for row in self.rows],
        }


def statement_of(order: FlexOrder, others: Iterable[FlexOrder], readings: Readings) -> Statement:
    """Settle an order.

    Args:
        order: Which.
        others: Every other order that may share its cluster or have made an event of a day before it.
        readings: By series and start.
    """
    if order.state not in RESERVING:
        return _nothing(order, f"cancelled {order.changed_at.isoformat()}; nothing was owed for it")
    all_orders = [order, *(one for one in others if one.order_id != order.order_id)]
    of_cluster = [one for one in all_orders if one.cluster_id == order.cluster_id and one.state in RESERVING]
    starts = half_hours(order)
    meter = readings.get(meter_of(order.cluster_id), {})
    metered_kwh = {at: reading.value for at, reading in meter.items()}
    sold = {at for one in of_cluster for at in half_hours(one)}
    reason = ""
    try:
        expected = baseline(METHODS[order.baseline], metered_kwh, starts, sold)
        days, adjustment = expected.days, expected.adjustment_kwh
        expected_kwh: Mapping[datetime, float] = dict(zip(starts, expected.kwh, strict=True))
    except NoBaseline as missing:
        reason, days, adjustment, expected_kwh = f"no baseline: {missing}", (), 0.0, {}
    told = [
        _settle(order, of_cluster, at, expected_kwh.get(at), meter.get(at), readings.get(SYSTEM_PRICE, {}).get(at))
        for at in starts
    ]
    dates = settlement_dates(starts)
    rows = tuple(
        row._replace(settlement_date=day, period=number) for row, (day, number) in zip(told, dates, strict=True)
    )
    withheld = [row for row in rows if row.status == "withheld"]
    if withheld and not reason:
        reason = f"{len(withheld)} of {len(rows)} half-hours lack a reading or price, the first at {withheld[0].start}"
    statuses = {row.status for row in rows}
    status = next((name for name in ("withheld", "estimated") if name in statuses), "settled")
    return _added_up(order, status, reason, days, adjustment, rows)


def half_hours(order: FlexOrder) -> list[datetime]:
    """Settlement periods that an order touches, by their start."""
    first = order.start - timedelta(seconds=order.start.timestamp() % HALF_HOUR.total_seconds())
    return [first + i * HALF_HOUR for i in range(-((first - order.end) // HALF_HOUR))]


def settlement_dates(starts: Sequence[datetime]) -> list[tuple[str, int]]:
    """Local date and number of settlement periods."""
    index = pd.DatetimeIndex([at.astimezone(UTC) for at in starts])
    dates = np.datetime_as_string(settlement_date(index), unit="D")
    return [(str(day), int(number)) for day, number in zip(dates, settlement_period(index), strict=True)]


def _contracted_mwh(order: FlexOrder, at: datetime) -> Decimal:
    overlap = min(order.end, at + HALF_HOUR) - max(order.start, at)
    hours = Decimal(max(int(overlap.total_seconds()), 0)) / 3600
    return volume(exact(order.power_kw) * hours / KWH_PER_MWH)


def _settle(
    order: FlexOrder,
    of_cluster: Sequence[FlexOrder],
    at: datetime,
    expected_kwh: float | None,
    reading: Reading | None,
    system_price: Reading | None,
) -> Row:
    contracted = _contracted_mwh(order, at)
    rule = RULES[order.payment]
    blank = Row("", 0, at.isoformat(), str(contracted), None, None, None, None, None, "withheld")
    if reading is not None:
        blank = blank._replace(metered_mwh=str(_mwh(reading.value)))
    if expected_kwh is not None:
        blank = blank._replace(baseline_mwh=str(_mwh(expected_kwh)))
    if expected_kwh is None or reading is None:
        return blank
    of_all = _mwh(expected_kwh) - _mwh(reading.value)
    sharing = sorted((one for one in of_cluster if _contracted_mwh(one, at) > 0), key=lambda one: one.order_id)
    if order in sharing:
        parts = shares(of_all, [_contracted_mwh(one, at) for one in sharing])
        delivered = parts[sharing.index(order)]
    else:  # less than the smallest volume was sold of this half-hour
        delivered = NOTHING
    price = None if system_price is None else exact(system_price.value)
    period = Period(contracted, delivered, exact(order.price_gbp_per_mwh), price)
    blank = blank._replace(delivered_mwh=str(delivered), shortfall_mwh=str(period.shortfall_mwh))
    if rule.needs_system_price and price is None:
        return blank
    return blank._replace(gbp=str(rule.gbp(period)), status="settled" if reading.quality == ACTUAL else "estimated")


def _mwh(kwh: float) -> Decimal:
    """Metered and expected volumes have four decimals before they are compared, so that the rows show what was done."""
    return volume(exact(kwh) / KWH_PER_MWH)


def _sum(rows: Iterable[Row], name: str) -> Decimal:
    return sum((Decimal(value) for row in rows if (value := getattr(row, name)) is not None), NOTHING)


def _added_up(
    order: FlexOrder, status: str, reason: str, days: Sequence[date], adjustment: float, rows: tuple[Row, ...]
) -> Statement:
    told = [row for row in rows if row.status != "withheld"]
    contracted, missing = _sum(told, "contracted_mwh"), _sum(told, "shortfall_mwh")
    performance = (contracted - missing) / contracted if contracted else NOTHING
    return Statement(
        order.order_id,
        status,
        reason,
        order.baseline,
        tuple(day.isoformat() for day in days),
        str(_mwh(adjustment)),
        order.payment,
        str(exact(order.price_gbp_per_mwh)),
        str(_sum(rows, "contracted_mwh")),
        str(_sum(told, "delivered_mwh")),
        str(missing),
        str(volume(performance)),
        str(money(_sum(told, "gbp"))),
        rows,
    )


def _nothing(order: FlexOrder, reason: str) -> Statement:
    return _added_up(order, OrderState.CANCELLED.value, reason, (), 0.0, ())
