"""Wire forms of a schedule: the series it is made from, where each job runs, and what power may be bought back."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from data.calendar import in_utc


def _in_utc(instant: object) -> object:
    """A time in UTC; text is left to pydantic first."""
    if isinstance(instant, str):
        instant = datetime.fromisoformat(instant)
    if isinstance(instant, datetime):
        return in_utc(instant)
    return instant


Instant = Annotated[datetime, BeforeValidator(_in_utc)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PricePoint(_Wire):
    """Prices of one settlement period; `timestamp` is its start."""

    timestamp: Instant
    system_buy_price_gbp_per_mwh: float
    system_sell_price_gbp_per_mwh: float


class CarbonPoint(_Wire):
    """Carbon intensity of the grid in one settlement period; `timestamp` is its start."""

    timestamp: Instant
    carbon_intensity_g_per_kwh: NotNegative


class JobMetadata(_Wire):
    """What else is known of a scheduled job; lateness is the time it ends past its deadline."""

    lateness_hours: NotNegative
    cluster_id: str
    priority: int


class ScheduledJob(_Wire):
    """When a job runs, at which expected cost; `is_flexible_offer` tells that it could run at another time too."""

    job_id: str
    start_time: Instant
    end_time: Instant
    power_kw: Positive
    expected_cost_gbp: float
    expected_carbon_kg: NotNegative
    is_flexible_offer: bool
    metadata: JobMetadata


class FlexOffer(_Wire):
    """Power of a job that may be turned down for a price, because the job could run at another time.

    `earliest_start` to `latest_end` is when the power is drawn. `price_gbp_per_mwh` covers what the next best time
    would cost more. The offer stands while the grid is no dirtier than `carbon_intensity_cap_g_per_kwh`, the dirtiest
    half-hour that it was planned for.
    """

    offer_id: str
    cluster_id: str
    power_kw: Positive
    duration_hours: Positive
    earliest_start: Instant
    latest_end: Instant
    price_gbp_per_mwh: NotNegative
    carbon_intensity_cap_g_per_kwh: NotNegative
