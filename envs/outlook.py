"""What a policy is shown of a slow signal (carbon, wet bulb): the newest published value and 48 forecasts."""

import numpy as np
import pandas as pd

from data.publication import latest_known
from envs.fields import Field, FloatArray
from envs.information import FORECAST_PERIODS
from forecasting.forecast import Forecaster


def outlook_fields(name: str, low: float, high: float, meaning: str) -> tuple[Field, ...]:
    """Layout of one signal's outlook: `known_<name>`, then `forecast_<name>_00` to `_47`."""
    return (
        Field(f"known_{name}", low, high, f"newest published {meaning}"),
        *(
            Field(f"forecast_{name}_{k:02d}", low, high, f"{meaning} expected {k} periods ahead")
            for k in range(FORECAST_PERIODS)
        ),
    )


CARBON_FIELDS = outlook_fields("carbon_g_per_kwh", 0.0, 1200.0, "carbon intensity")
WET_BULB_FIELDS = outlook_fields("wet_bulb_c", -40.0, 40.0, "outdoor wet-bulb temperature")


def outlook(table: pd.DataFrame, forecaster: Forecaster, fields: tuple[Field, ...]) -> FloatArray:
    """Rows of an outlook, from published values only; 0 where nothing has been published yet.

    Args:
        table: A checked grid table of n rows.
        forecaster: Of the signal's column.
        fields: The signal's layout; values are kept within its bounds.

    Returns:
        Shape (n, len(fields)), float32.
    """
    rows = np.column_stack([latest_known(forecaster.column, table), forecaster.predict(table).mean])
    return np.clip(np.nan_to_num(rows, nan=0.0), fields[0].low, fields[0].high).astype(np.float32)
