"""The columns of a half-hourly grid table: the one place that names them."""

from datetime import timedelta
from typing import Final, NamedTuple


class Column(NamedTuple):
    """One measured or published series.

    Attributes:
        name: Column name, unit included.
        low: Lowest plausible value; below it the unit is almost certainly wrong.
        high: Highest plausible value.
        least: Nine tenths of a long table's values are not all smaller than this, unless they are 0: it shows a unit
            that is too large, such as GBP/kWh, which no bound can.
    """

    name: str
    low: float
    high: float
    least: float = 0.0


COLUMNS: Final = (
    Column("day_ahead_price_gbp_per_mwh", -600.0, 10000.0, least=1.0),
    Column("market_index_price_gbp_per_mwh", -600.0, 10000.0, least=1.0),
    Column("imbalance_price_gbp_per_mwh", -1000.0, 10000.0, least=1.0),
    Column("net_imbalance_volume_mwh", -6000.0, 6000.0),
    Column("carbon_intensity_mix_derived_g_per_kwh", 0.0, 1200.0, least=1.0),
    Column("demand_mw", 5000.0, 80000.0),
    Column("wind_mw", 0.0, 60000.0),
    Column("embedded_wind_mw", 0.0, 30000.0),
    Column("embedded_solar_mw", 0.0, 60000.0),
    Column("demand_forecast_da_mw", 5000.0, 80000.0),
    Column("wind_forecast_da_mw", 0.0, 60000.0),
    Column("embedded_wind_forecast_da_mw", 0.0, 30000.0),
    Column("embedded_solar_forecast_da_mw", 0.0, 60000.0),
    Column("temperature_c", -40.0, 55.0),
    Column("relative_humidity_pct", 0.0, 100.0),
    Column("wet_bulb_c", -40.0, 40.0),
)
# The site's own signals; they stand beside a grid table where somebody forecasts them.
TELEMETRY: Final = ("site_load_kw", "arriving_jobs", "arriving_kwh")
INDEX_NAME: Final = "timestamp_utc"
PERIOD_H: Final = 0.5
PERIOD_MINUTES: Final = 30
HALF_HOUR: Final = timedelta(hours=PERIOD_H)
PERIODS_PER_DAY: Final = 48
