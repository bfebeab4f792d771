"""A stretch of market history that episodes are drawn from: what is shown, what is settled, where episodes begin."""

from functools import cache
from typing import Final, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data import splits
from data.calendar import local_day_starts
from data.load import checked, table_hash
from data.schema import PERIODS_PER_DAY
from data.synthetic import generate
from envs.information import PriceForecaster, information
from forecasting.deviation import DeviationForecaster

EpisodeLength = Literal["day", "week", "split"]
DAYS: Final[dict[str, int]] = {"day": 1, "week": 7}


class Market(NamedTuple):
    """The arrays a compiled kernel reads, one row per half-hour.

    Attributes:
        imbalance_price_gbp_per_mwh: Settlement price, shape (n,), float64.
        carbon_g_per_kwh: Carbon intensity of the grid, shape (n,), float64.
        end_price_gbp_per_mwh: Values what is left when an episode ends before row t: the mean day-ahead price of
            the 48 periods before it, shape (n + 1,), float64.
        information: What a policy is shown, shape (n + 1, len(information.FIELDS)), float32; the last row repeats
            the one before it, for the observation after the last period.
    """

    imbalance_price_gbp_per_mwh: NDArray[np.float64]
    carbon_g_per_kwh: NDArray[np.float64]
    end_price_gbp_per_mwh: NDArray[np.float64]
    information: NDArray[np.float32]


class Episode(NamedTuple):
    """Rows first .. stop - 1 of a scenario."""

    first: int
    stop: int


class History:
    """A grid table made ready for kernels; every split of an experiment shares one.

    Attributes:
        timestamps: Start of every period of the table, UTC, shape (n,).
        market: Arrays for the kernels.
        data_hash: Names the table in reports and bundles.
    """

    def __init__(self, table: pd.DataFrame, forecaster: PriceForecaster) -> None:
        """Forecast, and lay out what is shown and what is settled.

        Args:
            table: A grid table.
            forecaster: Makes the forecasts that policies are shown.

        Raises:
            ValueError: If the table breaks the schema.
        """
        table = checked(table)
        self.timestamps = pd.DatetimeIndex(table.index)
        self.market = _market(table, information(table, forecaster))
        self.data_hash = table_hash(table)


class Scenario:
    """One split of a history, cut into episodes.

    Attributes:
        split: Name of the split.
        timestamps: Start of every period of the history, UTC, shape (n,).
        market: Arrays for the kernels.
        episodes: Every episode of the split, in order.
    """

    def __init__(self, history: History, split: str = "train", episode: EpisodeLength = "week") -> None:
        """Choose a split; rows before it serve as known history.

        Args:
            history: Prepared market history.
            split: A name in `data.splits.SPLITS`.
            episode: Local days or weeks (46 to 50 or 334 to 338 periods), or the whole split as one.

        Raises:
            ValueError: If the split holds no whole episode, or the episode length is unknown.
        """
        if episode not in ("day", "week", "split"):
            raise ValueError(f"unknown episode length {episode!r}; allowed are 'day', 'week' and 'split'")
        self.split = split
        self.timestamps, self.market = history.timestamps, history.market
        span = splits.rows(self.timestamps, split)
        self.episodes = _episodes(self.timestamps, Episode(span.start, span.stop), episode)
        if not self.episodes:
            raise ValueError(f"split {split!r} holds no whole {episode}; give it more data or choose a shorter episode")


@cache
def default_scenario(split: str = "train", episode: EpisodeLength = "week") -> Scenario:
    """The embedded default: synthetic GB data with the built-in forecaster fitted on its training split."""
    return Scenario(_default_history(), split, episode)


@cache
def _default_history() -> History:
    table = generate()
    train = table.iloc[splits.rows(pd.DatetimeIndex(table.index), "train")]
    return History(table, DeviationForecaster.fit(train))


def _market(table: pd.DataFrame, shown: NDArray[np.float32]) -> Market:
    # A period whose own value was never published is settled at the last one that was.
    settled = table.ffill().bfill()
    day_ahead = settled["day_ahead_price_gbp_per_mwh"]
    end_price = day_ahead.rolling(PERIODS_PER_DAY, min_periods=1).mean().to_numpy(dtype=np.float64)
    return Market(
        imbalance_price_gbp_per_mwh=settled["imbalance_price_gbp_per_mwh"].to_numpy(dtype=np.float64),
        carbon_g_per_kwh=settled["carbon_intensity_mix_derived_g_per_kwh"].to_numpy(dtype=np.float64),
        end_price_gbp_per_mwh=np.concatenate([end_price[:1], end_price]),
        information=np.vstack([shown, shown[-1:]]),
    )


def _episodes(index: pd.DatetimeIndex, span: Episode, length: EpisodeLength) -> list[Episode]:
    if length == "split":
        return [span]
    starts = local_day_starts(index)
    starts = starts[(starts >= span.first) & (starts <= span.stop)]
    days = DAYS[length]
    return [Episode(int(a), int(b)) for a, b in zip(starts[:-days], starts[days:], strict=True)]
