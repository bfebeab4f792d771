"""LCCC data portal: the day-ahead reference price of GB; Open Government Licence, no key.

Source: https://dp.lowcarboncontracts.uk/dataset/imrp-actuals. The Intermittent Market Reference Price (IMRP) is the
volume-weighted mean of both GB hourly day-ahead auctions (EPEX SPOT and Nord Pool N2EX), used to settle contracts for
difference.
"""

from datetime import date
from typing import Final, NamedTuple

from pydantic import Field

from data.clients.ckan import Ckan
from data.clients.wire import AnswerError, Day, Row, parsed

PACKAGE: Final = "imrp-actuals"


class ReferencePrice(Row):
    """Price of an hour; `hour` counts from 1 at local midnight, to 23, 24 or 25."""

    settlement_date: Day = Field(alias="IMRP_Date")
    hour: int = Field(alias="Settlement_Period", ge=1, le=25)
    price_gbp_per_mwh: float = Field(alias="IMRP_Amount")


class Lccc(NamedTuple):
    """The portal of the Low Carbon Contracts Company.

    Attributes:
        portal: The portal.
    """

    portal: Ckan

    async def day_ahead_prices(self, first: date, today: date) -> list[ReferencePrice]:
        """Day-ahead prices from settlement date `first` to the newest one, in order.

        Args:
            first: First settlement date.
            today: Bounds what is asked for: the portal gives its newest rows first.
        """
        resources = await self.portal.resources(PACKAGE)
        if len(resources) != 1:
            raise AnswerError(f"{PACKAGE} should be one table; the portal has {[r.name for r in resources]}")
        most = 24 * ((today - first).days + 3) + 2  # two days to come, and the longer day
        records = await self.portal.newest_rows(resources[0].id, "IMRP_Date desc, Settlement_Period desc", most)
        rows = parsed(ReferencePrice, records, f"LCCC {PACKAGE}")
        return sorted((r for r in rows if r.settlement_date >= first), key=lambda r: (r.settlement_date, r.hour))
