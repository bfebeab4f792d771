"""From jobs to offers on sale: plan what runs when, and sell the power of what could run at another time.

Plans are made anew as time goes by, and what an earlier plan began or sold binds the later ones: a job whose planned
start has passed runs, and power that a buyer was promised is neither drawn nor sold a second time.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from baselines.greedy import schedule
from baselines.schedule import Reserved, Schedule, Scheduler, Weights
from data.calendar import GATE_CLOSURE
from data.jobs import JobSpec
from data.schedule import CarbonPoint, FlexOffer, PricePoint
from data.schema import HALF_HOUR
from dispatch import flex_offers
from dispatch.audit import Audit
from dispatch.flex_offers import Offer
from dispatch.outlook import Outlook
from dispatch.store import TABLES, Instant, Store

HORIZON: Final = timedelta(days=7)
REMEMBERED: Final = timedelta(days=62)  # the longest job runs for 31; what is older cannot be at hand any more
OFFER_PREFIX: Final = "flex-"

planned_table: Final = sa.Table(
    "planned_job",
    TABLES,
    sa.Column("job_id", sa.String(128), primary_key=True),
    sa.Column("power_kw", sa.Float, nullable=False),
    sa.Column("start", Instant, nullable=False),
    sa.Column("end", Instant, nullable=False),
)


class Terms(NamedTuple):
    """What every offer says of its settlement.

    Attributes:
        baseline: Name of the method of `dispatch.baseline`.
        payment: Name of the rule of `dispatch.payment`.
        least_gbp_per_mwh: Nothing is sold for less, however little it costs to move.
    """

    baseline: str = "10_of_10"
    payment: str = "delivered"
    least_gbp_per_mwh: float = 0.0


class Bound(NamedTuple):
    """What earlier plans bind a plan to.

    Attributes:
        sold: Offers of which something is promised. The whole job moves out of the way, and nothing takes its place.
        begun: Jobs whose planned start has passed, the ended ones too.
    """

    sold: tuple[Offer, ...]
    begun: tuple[Reserved, ...]


class Plan(NamedTuple):
    """A schedule and what it was bound by."""

    schedule: Schedule
    bound: Bound


class _Given(NamedTuple):
    """All that a schedule depends on."""

    jobs: list[JobSpec]
    prices: list[PricePoint]
    carbon: list[CarbonPoint]
    weights: Weights
    reserved: list[Reserved]


class Seller:
    """Plans jobs and puts their flexibility on sale."""

    def __init__(
        self,
        store: Store,
        audit: Audit,
        jobs: Callable[[datetime], Sequence[JobSpec]],
        outlook: Outlook,
        weights: Weights = Weights(),  # noqa: B008 - immutable
        terms: Terms = Terms(),  # noqa: B008 - immutable
        scheduler: Scheduler = schedule,
    ) -> None:
        """Put the parts together.

        Args:
            store: Holds what earlier plans began and what is sold.
            audit: Records what goes on sale.
            jobs: The jobs at hand at an instant; those already planned to have begun may be among them.
            outlook: Forecasts prices and carbon: issued at an instant, from a half-hour on, for so many.
            weights: What a slot is judged by.
            terms: Of all offers.
            scheduler: Says which job runs when, and what could run at another time.
        """
        self._store, self._audit, self._jobs, self._outlook = store, audit, jobs, outlook
        self._weights, self._terms, self._scheduler = weights, terms, scheduler
        self._made: tuple[_Given, Schedule] | None = None
        self._published: Plan | None = None

    def plan(self, at: datetime) -> Plan:
        """Plan a week from the next half-hour on; slow, so call it outside of writing transactions.

        Raises:
            OSError: The jobs cannot be read.
            ValueError: The jobs are not valid, or there is no outlook.
        """
        begun = _half_hour_begun(at)
        start = begun if begun == at else begun + HALF_HOUR
        with self._store.reading() as connection:
            bound = _bound(connection, at)
        running = {one.job_id for one in bound.begun}
        moved = [Reserved(_job_of(one), one.power_kw, one.start, one.end) for one in bound.sold]
        jobs = [job for job in self._jobs(at) if job.job_id not in running and _can_be_done(job, start)]
        prices, carbon = self._outlook(begun, start, HORIZON // HALF_HOUR)
        given = _Given(jobs, prices, carbon, self._weights, [*moved, *bound.begun])
        if self._made is None or self._made[0] != given:
            self._made = given, self._scheduler(*given)
        return Plan(self._made[1], bound)

    def publish(self, connection: sa.Connection, plan: Plan, at: datetime) -> bool:
        """Put the offers of a plan on sale in place of all before, unless something was sold or has begun since.

        Args:
            connection: A writing transaction of the store.
            plan: From `plan`.
            at: Now.

        Returns:
            Whether they are on sale; if not, what is on sale still holds, and the next plan goes around what changed.
        """
        if _bound(connection, at) != plan.bound:
            return False
        begun = {one.job_id for one in plan.bound.begun}
        connection.execute(sa.delete(planned_table).where(planned_table.c.job_id.not_in(begun)))
        rows = [
            {"job_id": job.job_id, "power_kw": job.power_kw, "start": job.start_time, "end": job.end_time}
            for job in plan.schedule.scheduled_jobs
        ]
        if rows:
            connection.execute(sa.insert(planned_table), rows)
        rest = [offer for offer in plan.bound.sold if offer.expires_at > at]
        fresh = offers_of(plan.schedule.flex_offers, at, self._terms)
        flex_offers.publish(connection, self._audit, [*rest, *fresh], at)
        return True

    def on_sale(self, at: datetime) -> list[Offer]:
        """What can be ordered now."""
        with self._store.reading() as connection:
            return flex_offers.on_sale(connection, at)

    def renew(self, clock: Callable[[], datetime]) -> None:
        """Plan, and publish what has changed since the last time; for the errors see `plan`.

        Args:
            clock: The present instant, UTC; planning may take seconds.
        """
        plan = self.plan(clock())
        if plan == self._published:
            return
        with self._store.writing() as connection:
            published = self.publish(connection, plan, clock())
        if published:
            self._published = plan


def offers_of(
    flex_offers: Sequence[FlexOffer],
    at: datetime,
    terms: Terms = Terms(),  # noqa: B008 - immutable
) -> list[Offer]:
    """What goes on sale of a planner's offers: those that leave time to move the load, in whole watts and pennies.

    Args:
        flex_offers: From a plan.
        at: Now.
        terms: Of settlement.
    """
    return [
        Offer(
            offer_id=one.offer_id,
            cluster_id=one.cluster_id,
            power_kw=math.floor(one.power_kw * 1000.0 + 1e-6) / 1000.0,
            start=one.earliest_start,
            end=one.latest_end,
            price_gbp_per_mwh=math.ceil(max(one.price_gbp_per_mwh, terms.least_gbp_per_mwh) * 100.0 - 1e-6) / 100.0,
            carbon_cap_g_per_kwh=one.carbon_intensity_cap_g_per_kwh,
            expires_at=one.earliest_start - GATE_CLOSURE,
            baseline=terms.baseline,
            payment=terms.payment,
        )
        for one in flex_offers
        if one.earliest_start - GATE_CLOSURE > at
    ]


def _half_hour_begun(at: datetime) -> datetime:
    seconds = math.floor(at.timestamp() / HALF_HOUR.total_seconds()) * HALF_HOUR.total_seconds()
    return datetime.fromtimestamp(seconds, UTC)


def _can_be_done(job: JobSpec, start: datetime) -> bool:
    """Whether a job that has not begun can still start as late as it may and end in time."""
    latest = job.arrival_time + timedelta(hours=job.max_deferral_hours)
    return start <= latest and start + timedelta(hours=job.duration_hours) <= job.deadline


def _job_of(offer: Offer) -> str:
    return offer.offer_id.removeprefix(OFFER_PREFIX)


def _bound(connection: sa.Connection, at: datetime) -> Bound:
    oldest = at - REMEMBERED
    sold = tuple(flex_offers.sold(connection, oldest))
    away = {_job_of(offer): offer for offer in sold}
    query = sa.select(planned_table).where(planned_table.c.start <= at, planned_table.c.end > oldest)
    begun = [Reserved(*row) for row in connection.execute(query.order_by(planned_table.c.job_id))]
    return Bound(sold, tuple(one for one in begun if not _overlap(one, away.get(one.job_id))))


def _overlap(one: Reserved, offer: Offer | None) -> bool:
    """Whether a job's planned time is the one that was sold; then it has not begun after all."""
    return offer is not None and one.start < offer.end and offer.start < one.end
