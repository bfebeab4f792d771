"""Turn-down for sale: what an offer says, and which can be ordered, less what is promised of them already."""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from dispatch.audit import Audit, plain
from dispatch.flex_orders import RESERVING, all_reserved_kw, order_table
from dispatch.store import TABLES, Instant

SMALLEST_KW: Final = 0.001  # less than a watt is nothing

offer_table: Final = sa.Table(
    "flex_offer",
    TABLES,
    sa.Column("offer_id", sa.String(128), primary_key=True),
    sa.Column("cluster_id", sa.String(128), nullable=False),
    sa.Column("power_kw", sa.Float, nullable=False),
    sa.Column("start", Instant, nullable=False, index=True),
    sa.Column("end", Instant, nullable=False),
    sa.Column("price_gbp_per_mwh", sa.Float, nullable=False),
    sa.Column("carbon_cap_g_per_kwh", sa.Float, nullable=True),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("withdrawn", sa.Boolean, nullable=False),
    sa.Column("baseline", sa.String(32), nullable=False),
    sa.Column("payment", sa.String(32), nullable=False),
)
OFFER: Final = sa.select(offer_table).where(offer_table.c.offer_id == sa.bindparam("offer"))  # made once


class Offer(NamedTuple):
    """Power that can be turned down in a window, at a price.

    Attributes:
        offer_id: Its name.
        cluster_id: Whose load it is.
        power_kw: How much can be turned down throughout the window.
        start: Start of the window.
        end: End of the window.
        price_gbp_per_mwh: For every MWh turned down.
        carbon_cap_g_per_kwh: Carbon intensity up to which the load would have run; None where it does not matter.
        expires_at: When it can no longer be ordered.
        withdrawn: Whether it was taken back; what was ordered of it stays ordered.
        baseline: Name of the method of `dispatch.baseline` that says what would have been drawn.
        payment: Name of the rule of `dispatch.payment` that says what delivery earns.
    """

    offer_id: str
    cluster_id: str
    power_kw: float
    start: datetime
    end: datetime
    price_gbp_per_mwh: float
    carbon_cap_g_per_kwh: float | None
    expires_at: datetime
    withdrawn: bool = False
    baseline: str = "10_of_10"
    payment: str = "delivered"


def publish(connection: sa.Connection, audit: Audit, offers: Iterable[Offer], at: datetime) -> None:
    """Put offers up for sale, in place of all before; an offer of which something is ordered keeps its terms.

    The same offers again change nothing.

    Args:
        connection: A writing transaction of the store.
        audit: Records it.
        offers: What is for sale from now on.
        at: Now.

    Raises:
        ValueError: An offer has no power, no window, or a price that is no number.
    """
    fresh = {offer.offer_id: _checked(offer) for offer in offers}
    # Of many offers at once, as a search may ask for: a handful of statements, however many there are.
    rows = connection.execute(
        sa.select(offer_table).where(offer_table.c.offer_id.in_(fresh) | ~offer_table.c.withdrawn)
    )
    known = {row.offer_id: _offer(row) for row in rows}
    kept = all_reserved_kw(connection, at).keys() & known.keys()
    wanted = {name: known[name]._replace(withdrawn=False) if name in kept else fresh[name] for name in fresh}
    if wanted == {name: offer for name, offer in known.items() if not offer.withdrawn}:
        return
    changed = [name for name, offer in wanted.items() if known.get(name) != offer]
    connection.execute(sa.update(offer_table).where(~offer_table.c.withdrawn).values(withdrawn=True))
    connection.execute(sa.update(offer_table).where(offer_table.c.offer_id.in_(wanted)).values(withdrawn=False))
    anew = [wanted[name]._asdict() for name in changed if name not in known]
    if anew:
        connection.execute(sa.insert(offer_table), anew)
    for name in changed:
        if name in known and name not in kept:
            connection.execute(
                sa.update(offer_table).where(offer_table.c.offer_id == name).values(wanted[name]._asdict())
            )
    audit.append(connection, "offers_published", {"offers": [plain(offer._asdict()) for offer in wanted.values()]}, at)


def on_sale(connection: sa.Connection, at: datetime) -> list[Offer]:
    """Every offer that can be ordered now, with the power that is left of it, in order of its start."""
    query = sa.select(offer_table).where(~offer_table.c.withdrawn, offer_table.c.expires_at > at)
    reserved = all_reserved_kw(connection, at)
    offers = [_offer(row) for row in connection.execute(query.order_by(offer_table.c.start, offer_table.c.offer_id))]
    left = [offer._replace(power_kw=offer.power_kw - reserved.get(offer.offer_id, 0.0)) for offer in offers]
    return [offer for offer in left if offer.power_kw >= SMALLEST_KW]


def sold(connection: sa.Connection, since: datetime) -> list[Offer]:
    """Every offer of which something is promised to a buyer in a window that ends after an instant, by name."""
    promised = sa.select(order_table.c.offer_id).where(order_table.c.state.in_(RESERVING), order_table.c.end > since)
    query = sa.select(offer_table).where(offer_table.c.offer_id.in_(promised))
    return [_offer(row) for row in connection.execute(query.order_by(offer_table.c.offer_id))]


def find(connection: sa.Connection, offer_id: str) -> Offer | None:
    """One offer, for sale or not; None where there is none of that name."""
    row = connection.execute(OFFER, {"offer": offer_id}).first()
    return None if row is None else _offer(row)


def _offer(row: sa.Row[Any]) -> Offer:
    return Offer(**row._mapping)


def _checked(offer: Offer) -> Offer:
    if not SMALLEST_KW <= offer.power_kw < math.inf:
        raise ValueError(f"offer {offer.offer_id!r} has {offer.power_kw} kW; it must be finite and above 0")
    if not offer.start < offer.end:
        raise ValueError(f"offer {offer.offer_id!r} ends {offer.end} and starts {offer.start}; it must end later")
    if not math.isfinite(offer.price_gbp_per_mwh):
        raise ValueError(f"offer {offer.offer_id!r} has the price {offer.price_gbp_per_mwh}; it must be a number")
    return offer
