"""A stretch of market history that episodes are drawn from: what is shown, what is settled, where episodes begin."""

from collections.abc import Callable
from functools import cache, cached_property, partial
from typing import Final, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data import splits
from data.calendar import local_day_starts
from data.load import checked, table_hash
from data.schema import PERIODS_PER_DAY
from data.splits import SPLITS, Split
from data.synthetic import generate
from envs.fields import FloatArray
from envs.information import information
from envs.outlook import CARBON_FIELDS, WET_BULB_FIELDS, outlook
from forecasting.deviation import DeviationForecaster
from forecasting.forecast import Forecaster
from forecasting.persistence import PersistenceForecaster

EpisodeLength = Literal["day", "week", "split"]
CARBON: Final = partial(PersistenceForecaster, "carbon_intensity_mix_derived_g_per_kwh")
WET_BULB: Final = partial(PersistenceForecaster, "wet_bulb_c")
DAYS: Final[dict[str, int]] = {"day": 1, "week": 7}


class Market(NamedTuple):
    """The arrays a compiled kernel reads: what is settled and what physics feels, one row per half-hour.

    All are float64 of shape (n,) but the last, which has one row more.

    Attributes:
        day_ahead_price_gbp_per_mwh: Price of the day-ahead position.
        imbalance_price_gbp_per_mwh: Price of the deviation from it.
        carbon_g_per_kwh: Carbon intensity of the grid.
        wet_bulb_c: Outdoor wet-bulb temperature.
        end_price_gbp_per_mwh: Values what is left when an episode ends before row t: the mean day-ahead price of
            the 48 periods before it, shape (n + 1,).
    """

    day_ahead_price_gbp_per_mwh: NDArray[np.float64]
    imbalance_price_gbp_per_mwh: NDArray[np.float64]
    carbon_g_per_kwh: NDArray[np.float64]
    wet_bulb_c: NDArray[np.float64]
    end_price_gbp_per_mwh: NDArray[np.float64]


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
        forecaster: Forecasts the imbalance price for the policies.
        train: The dates that a policy may be fitted on.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        forecaster: Forecaster,
        carbon: Callable[[], Forecaster] = CARBON,
        wet_bulb: Callable[[], Forecaster] = WET_BULB,
        train: Split = SPLITS["train"],
    ) -> None:
        """Lay out what is settled; what is shown is made when a system first asks for it.

        Args:
            table: A grid table.
            forecaster: Forecasts the imbalance price for the policies.
            carbon: Makes the forecaster of carbon intensity; not every system asks for it.
            wet_bulb: Makes the forecaster of the wet-bulb temperature.
            train: The dates that a policy may be fitted on.

        Raises:
            ValueError: If the table breaks the schema.
        """
        self._table, self.forecaster = checked(table), forecaster
        self._carbon, self._wet_bulb = carbon, wet_bulb
        self.timestamps = pd.DatetimeIndex(self._table.index)
        self.market = _market(self._table)
        self.data_hash = table_hash(self._table)
        self.train = train

    @property
    def table(self) -> pd.DataFrame:
        """The checked grid table; it is shared, so leave it as it is."""
        return self._table

    @cached_property
    def price_information(self) -> FloatArray:
        """Rows of `envs.information.FIELDS`, shape (n + 1, fields); the last row repeats the one before it."""
        return _one_more(information(self._table, self.forecaster))

    @cached_property
    def price_information_twice(self) -> FloatArray:
        """The same at the start of each period and 15 minutes into it, shape (2, n + 1, fields)."""
        return np.stack([_one_more(information(self._table, self.forecaster, minute)) for minute in (0, 15)])

    @cached_property
    def carbon_forecaster(self) -> Forecaster:
        """Forecasts carbon intensity for the policies; made when first asked for."""
        return self._carbon()

    @cached_property
    def wet_bulb_forecaster(self) -> Forecaster:
        """Forecasts the wet-bulb temperature for the policies; made when first asked for."""
        return self._wet_bulb()

    @cached_property
    def carbon_outlook(self) -> FloatArray:
        """Rows of `envs.outlook.CARBON_FIELDS`, shape (n + 1, fields); the last row repeats the one before it."""
        return _one_more(outlook(self._table, self.carbon_forecaster, CARBON_FIELDS))

    @cached_property
    def wet_bulb_outlook(self) -> FloatArray:
        """Rows of `envs.outlook.WET_BULB_FIELDS`, shape (n + 1, fields); the last row repeats the one before it."""
        return _one_more(outlook(self._table, self.wet_bulb_forecaster, WET_BULB_FIELDS))


class Scenario:
    """One split of a history, cut into episodes.

    Attributes:
        split: Name of the split, or its span.
        history: What the split was cut from.
        timestamps: Start of every period of the history, UTC, shape (n,).
        market: Arrays for the kernels.
        episodes: Every episode of the split, in order.
    """

    def __init__(self, history: History, split: str | Split = "train", episode: EpisodeLength = "week") -> None:
        """Choose a split; rows before it serve as known history.

        Args:
            history: Prepared market history.
            split: A name in `data.splits.SPLITS`, or a span of its own.
            episode: Local days or weeks (46 to 50 or 334 to 338 periods), or the whole split as one.

        Raises:
            ValueError: If the split holds no whole episode, or the episode length is unknown.
        """
        if episode not in ("day", "week", "split"):
            raise ValueError(f"unknown episode length {episode!r}; allowed are 'day', 'week' and 'split'")
        self.split = split
        self.history = history
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


def _market(table: pd.DataFrame) -> Market:
    # A period whose own value was never published is settled at the last one that was.
    settled = table.ffill().bfill()

    def column(name: str) -> NDArray[np.float64]:
        return settled[name].to_numpy(dtype=np.float64)

    day_ahead = settled["day_ahead_price_gbp_per_mwh"]
    end_price = day_ahead.rolling(PERIODS_PER_DAY, min_periods=1).mean().to_numpy(dtype=np.float64)
    return Market(
        day_ahead_price_gbp_per_mwh=column("day_ahead_price_gbp_per_mwh"),
        imbalance_price_gbp_per_mwh=column("imbalance_price_gbp_per_mwh"),
        carbon_g_per_kwh=column("carbon_intensity_mix_derived_g_per_kwh"),
        wet_bulb_c=column("wet_bulb_c"),
        end_price_gbp_per_mwh=np.concatenate([end_price[:1], end_price]),
    )


def _one_more(rows: FloatArray) -> FloatArray:
    """Repeat the last row, for the observation after the last period."""
    return np.ascontiguousarray(np.vstack([rows, rows[-1:]]))


def _episodes(index: pd.DatetimeIndex, span: Episode, length: EpisodeLength) -> list[Episode]:
    if length == "split":
        return [span]
    starts = local_day_starts(index)
    starts = starts[(starts >= span.first) & (starts <= span.stop)]
    days = DAYS[length]
    return [Episode(int(a), int(b)) for a, b in zip(starts[:-days], starts[days:], strict=True)]
