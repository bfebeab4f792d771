"""The curve of a fitted Prophet model as plain numbers: a trend, seasons and days off, of local time alone.

Prophet's own prediction builds data frames for every call and takes ten times as long; these are the same sums
(Taylor and Letham 2018, equations 1 and 3 to 6, of the additive model at its most likely parameters). Evaluating
one needs neither Prophet nor Stan.
"""

from functools import cache
from typing import Any, Final, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COUNTRY: Final = "GB"
DAY_S: Final = 86_400.0


class Season(NamedTuple):
    """A sum of waves: sines[i] x sin(2 pi (i + 1) day / period) + cosines[i] x cos(the same)."""

    period_days: float
    sines: tuple[float, ...]
    cosines: tuple[float, ...]


class Curve(NamedTuple):
    """What Prophet learnt, in the column's unit; days are counted from the start of 1970, local time.

    Attributes:
        start_day: Where the trend begins.
        level: The trend there.
        rate_per_day: How it rises there.
        bends: Days at which the rate changes, and by how much.
        seasons: Waves.
        holidays: What a holiday of each name adds.
    """

    start_day: float
    level: float
    rate_per_day: float
    bends: tuple[tuple[float, float], ...]
    seasons: tuple[Season, ...]
    holidays: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, model: Any) -> Self:
        """Read off a fitted model with additive parts and no saturation what it gives where extra regressors are 0."""
        assert model.seasonality_mode == model.holidays_mode == "additive", model.seasonality_mode
        assert model.growth in ("flat", "linear"), model.growth
        features, *_ = model.make_all_seasonality_features(model.history.iloc[:1])
        unit = float(model.y_scale)
        added = dict(zip(features.columns, (unit * model.params["beta"][0]).tolist(), strict=True))
        seasons = []
        for name, found in model.seasonalities.items():
            weights = [added[f"{name}_delim_{i + 1}"] for i in range(2 * found["fourier_order"])]
            seasons.append(Season(float(found["period"]), tuple(weights[::2]), tuple(weights[1::2])))
        at_zero = sum(added[name] * -one["mu"] / one["std"] for name, one in model.extra_regressors.items())
        start_day, length_days = model.start.timestamp() / DAY_S, model.t_scale.total_seconds() / DAY_S
        linear = model.growth == "linear"
        bends = zip(model.changepoints_t, model.params["delta"][0], strict=False) if linear else ()
        return cls(
            start_day,
            unit * float(model.params["m"][0, 0]) + at_zero,
            unit * float(model.params["k"][0, 0]) / length_days if linear else 0.0,
            tuple((start_day + float(t) * length_days, unit * float(rate) / length_days) for t, rate in bends),
            tuple(seasons),
            tuple((name, added[f"{name}_delim_+0"]) for name in model.train_holiday_names),
        )

    def values(self, wall: pd.DatetimeIndex) -> NDArray[np.float64]:
        """The curve at instants of local time without a zone, shape (n,)."""
        day = wall.to_numpy().astype("datetime64[s]").astype(np.float64) / DAY_S
        found = self.level + self.rate_per_day * (day - self.start_day)
        for bend, rate in self.bends:
            found += rate * np.maximum(day - bend, 0.0)
        for season in self.seasons:
            wave = np.exp(2j * np.pi * day[:, None] / season.period_days * np.arange(1, len(season.sines) + 1))
            found += wave.imag @ np.array(season.sines) + wave.real @ np.array(season.cosines)
        date = wall.to_numpy().astype("datetime64[D]")
        first, last = (int(each.astype("datetime64[Y]").astype(int)) + 1970 for each in (date.min(), date.max()))
        effects = dict(self.holidays)
        for off, names in _days_off(first, last):
            found[date == off] += sum(effects.get(name, 0.0) for name in names)
        return found


@cache
def _days_off(first_year: int, last_year: int) -> tuple[tuple[np.datetime64, tuple[str, ...]], ...]:
    """Dates and the names that Prophet knows them by."""
    from holidays import country_holidays  # slow to load

    found = country_holidays(COUNTRY, years=range(first_year, last_year + 1), expand=False, language="en_US")
    return tuple((np.datetime64(date, "D"), tuple(found.get_list(date))) for date in found)
