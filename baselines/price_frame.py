"""Forecast prices as frames: the expected price and its percentiles, by the names that planners and forecasters use."""

import re
from statistics import NormalDist
from typing import Final

import pandas as pd

PRICE: Final = "price_gbp_per_mwh"
PERCENTILE: Final = f"{PRICE}_p"
VOLATILITY: Final = "volatility_gbp_per_mwh"
LEVELS: Final = (5, 25, 50, 75, 95)  # of a normal price, where only its deviation is known
THEIRS: Final = re.compile(r"q(\d\d)_gbp_per_mwh")


def by_our_names(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame in which `mean_gbp_per_mwh` and `q05_gbp_per_mwh`, ... of `Forecaster.predict_next` have our names."""
    ours = {"mean_gbp_per_mwh": PRICE}
    return frame.rename(columns=lambda name: ours.get(name) or THEIRS.sub(rf"{PERCENTILE}\1", str(name)))


def percentiles_of(uncertainty: pd.DataFrame, forecast: pd.DataFrame) -> pd.DataFrame:
    """What is known of the scatter, as percentile columns.

    Args:
        uncertainty: By our names: percentiles; or `volatility_gbp_per_mwh` of `Forecaster.predict_volatility`, the
            deviation of a price that is taken to be normal about the forecast; or no column where nothing scatters.
        forecast: With the expected price, as many rows.

    Raises:
        ValueError: There are columns, and none of them tells how the price scatters.
    """
    if any(name.startswith(PERCENTILE) for name in uncertainty.columns) or uncertainty.columns.empty:
        return uncertainty
    if VOLATILITY not in uncertainty.columns:
        raise ValueError(
            f"the uncertainty has {list(uncertainty.columns)}; {PERCENTILE}05, {PERCENTILE}50, ... or {VOLATILITY} is "
            "needed, or no column at all where the forecast is certain"
        )
    if len(uncertainty) != len(forecast):
        raise ValueError(f"{len(uncertainty)} rows of uncertainty for {len(forecast)} of forecast; give as many")
    mean, deviation = forecast[PRICE].to_numpy(float), uncertainty[VOLATILITY].to_numpy(float)
    if not (deviation >= 0.0).all():
        raise ValueError(f"{VOLATILITY} must be finite numbers of 0 or more")
    columns = {f"{PERCENTILE}{level:02d}": mean + deviation * NormalDist().inv_cdf(level / 100.0) for level in LEVELS}
    return pd.DataFrame(columns, index=uncertainty.index)
