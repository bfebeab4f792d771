"""What will be believed about the price: a corrected forecast, and a Markov chain of how the belief about it moves.

The correction is a ridge regression (Hoerl and Kennard, Technometrics 12(1), 1970) of what the forecast missed on what
a policy is shown, one per lead, in units of the recent mean size of deviations, so that calm and wild years count
alike. The belief about a period is the corrected forecast less its day-ahead price in that unit; the chain says how
the belief with which the next period will be decided follows from the one for this period.
"""

from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from envs.fields import FloatArray, position, positions
from envs.information import FIELDS, FORECAST_PERIODS, FORECAST_PREFIX

Floats = NDArray[np.float64]

FORECAST: Final = positions(FIELDS, FORECAST_PREFIX)
MIN_SCALE_GBP_PER_MWH: Final = 8.0
MISS_BOUND: Final = 3.0  # in scales: what a forecast missed is clipped here before it is fitted, spikes teach little
DEVIATION_BOUND: Final = 5.0  # in scales: the same for the deviation that a belief stands for
PRICE_BOUND_GBP_PER_MWH: Final = 150.0
VOLUME_BOUND_MWH: Final = 800.0
RIDGE: Final = 1e-3  # of a feature's mean square
HARMONICS: Final = (1, 2)
RAMP_PERIODS: Final = 2  # one hour, the product of the day-ahead auction


class Belief(NamedTuple):
    """What one observation says about the coming day, S states.

    Attributes:
        path_gbp_per_mwh: Corrected forecast, shape (48,).
        weights: How far today's belief lies in each state; two neighbours share it, shape (S,).
        states_gbp_per_mwh: Deviation that each state stands for, shape (S,).
        expected_gbp_per_mwh: Deviation that the chain expects at each lead, shape (48,).
    """

    path_gbp_per_mwh: Floats
    weights: Floats
    states_gbp_per_mwh: Floats
    expected_gbp_per_mwh: Floats


class PriceChain:
    """Correction of the forecast and chain of beliefs.

    Attributes:
        coefficients: Of the correction, shape (48, features).
        centres: Belief at the middle of each state, rising, in scales, shape (S,).
        means: Mean deviation in each state, in scales, shape (S,).
        transition_array: Probability of the next state by state, shape (S, S).
    """

    def __init__(self, coefficients: Floats, centres: Floats, means: Floats, transition_array: Floats) -> None:
        """Take what was fitted; `fit` and `from_json` are the usual ways."""
        self.coefficients, self.centres, self.means = coefficients, centres, means
        self.transition_array = np.ascontiguousarray(transition_array)
        # expected[k] is what each start state leads to after k periods, (48, S)
        expected = [means]
        for _ in range(FORECAST_PERIODS - 1):
            expected.append(transition_array @ expected[-1])
        self._expected = np.array(expected)

    @classmethod
    def fit(cls, shown: FloatArray, price_gbp_per_mwh: Floats, states: int = 7) -> Self:
        """Fit on consecutive periods of a training split.

        Args:
            shown: Rows of `envs.information.FIELDS`, shape (n, fields).
            price_gbp_per_mwh: The imbalance price that was settled, shape (n,).
            states: Number of states; fewer are made where beliefs hardly differ.

        Raises:
            ValueError: Fewer than 2 days, or no state.
        """
        n = len(price_gbp_per_mwh)
        if n <= 2 * FORECAST_PERIODS or states < 1:
            raise ValueError(f"{n} periods and {states} states; more than two days and at least one state are needed")
        known, scale = shown.astype(np.float64), _scale(shown)
        coefficients = []
        for lead in range(FORECAST_PERIODS):
            rows = slice(0, n - lead)
            missed = price_gbp_per_mwh[lead:] - known[rows, FORECAST.start + lead]
            target = np.clip(missed / scale[rows], -MISS_BOUND, MISS_BOUND)
            coefficients.append(_ridge(_features(known[rows], np.array([lead]))[:, 0] / scale[rows, None], target))
        path = known[:, FORECAST.start] + _correction(known, np.array([0]), np.array(coefficients[:1]))[:, 0]
        day_ahead = known[:, position(FIELDS, "day_ahead_price_gbp_per_mwh")]
        belief = (path - day_ahead) / scale
        deviation = np.clip((price_gbp_per_mwh - day_ahead) / scale, -DEVIATION_BOUND, DEVIATION_BOUND)
        centres = np.unique(np.quantile(belief, (np.arange(states) + 0.5) / states))
        share = _weights(belief, centres)
        moves = share[:-1].T @ share[1:] + 1.0 / centres.size  # a state never met goes anywhere
        return cls(
            np.array(coefficients),
            centres,
            (share.T @ deviation) / np.maximum(share.sum(axis=0), 1e-9),
            moves / moves.sum(axis=1, keepdims=True),
        )

    def belief(self, shown: FloatArray) -> Belief:
        """Read one row of `envs.information.FIELDS`, shape (fields,)."""
        known, scale = shown.astype(np.float64)[None], float(_scale(shown[None])[0])
        path = self.path_gbp_per_mwh(shown[None])[0]
        now = (path[:1] - known[0, position(FIELDS, "day_ahead_price_gbp_per_mwh")]) / scale
        weights = _weights(now, self.centres)[0]
        return Belief(path, weights, self.means * scale, self._expected @ weights * scale)

    def path_gbp_per_mwh(self, shown: FloatArray) -> Floats:
        """The corrected forecast of rows of `envs.information.FIELDS`: shape (n, fields) in, (n, 48) out."""
        known = shown.astype(np.float64)
        return known[:, FORECAST] + _correction(known, np.arange(FORECAST_PERIODS), self.coefficients)

    def scale_gbp_per_mwh(self, shown: FloatArray) -> Floats:
        """Mean size of the deviations of the last known day, the unit of beliefs: shape (n, fields) in, (n,) out."""
        return _scale(shown)

    def as_json(self) -> dict[str, list[Any]]:
        """Plain lists, for a bundle."""
        return {
            "coefficients": self.coefficients.tolist(),
            "centres": self.centres.tolist(),
            "means": self.means.tolist(),
            "transition_array": self.transition_array.tolist(),
        }

    @classmethod
    def from_json(cls, lists: dict[str, list[Any]]) -> Self:
        """What `as_json` wrote.

        Raises:
            ValueError: A part is missing, or the shapes do not belong together.
        """
        try:
            parts = [np.array(lists[name], dtype=np.float64) for name in ("coefficients", "centres", "means")]
            transition = np.array(lists["transition_array"], dtype=np.float64)
        except KeyError as error:
            raise ValueError(f"a price chain without {error}; fit it again") from error
        features = _features(np.zeros((1, len(FIELDS))), np.array([0])).shape[2]
        states = parts[1].size
        wanted = ((FORECAST_PERIODS, features), (states,), (states,), (states, states))
        found = tuple(part.shape for part in (*parts, transition))
        if found != wanted:
            raise ValueError(f"a price chain of shapes {found}; {wanted} are needed: fit it again")
        return cls(*parts, transition)


def _scale(shown: FloatArray) -> Floats:
    """Mean size of the deviations of the last known day, shape (n,)."""
    size = shown[:, position(FIELDS, "day_mean_absolute_deviation_gbp_per_mwh")].astype(np.float64)
    return np.maximum(size, MIN_SCALE_GBP_PER_MWH)


def _features(known: Floats, leads: NDArray[np.int64]) -> Floats:
    """What the correction of each lead is made from, shape (n, leads, features)."""

    def column(name: str, bound: float = PRICE_BOUND_GBP_PER_MWH) -> Floats:
        return np.clip(known[:, position(FIELDS, name)], -bound, bound)[:, None]

    deviation = column("known_deviation_gbp_per_mwh")
    volume = column("known_net_imbalance_volume_mwh", VOLUME_BOUND_MWH)
    forecast = known[:, FORECAST]
    last = FORECAST_PERIODS - 1
    ramp = forecast[:, np.minimum(leads + RAMP_PERIODS, last)] - forecast[:, np.maximum(leads - RAMP_PERIODS, 0)]
    # Hourly prices are flat within the hour, what they follow is not: the ramp counts against the first half-hour.
    second_half = (column("half_hour") + leads) % 2.0
    hour = np.arctan2(column("hour_sin"), column("hour_cos")) + leads * (2.0 * np.pi / FORECAST_PERIODS)
    parts = [
        np.ones_like(deviation),
        deviation,
        column("earlier_deviation_gbp_per_mwh"),
        column("day_mean_deviation_gbp_per_mwh"),
        volume,
        column("known_market_index_spread_gbp_per_mwh"),
        column("weekend"),
        np.clip(deviation, -40.0, 40.0),  # bends, so that small and large values may count differently
        np.maximum(deviation, 0.0),
        np.clip(volume, -200.0, 200.0),
        forecast[:, leads] - forecast.mean(axis=1, keepdims=True),
        ramp * (2.0 * second_half - 1.0),
        *(wave(n * hour) for n in HARMONICS for wave in (np.sin, np.cos)),
    ]
    return np.stack([np.broadcast_to(part, ramp.shape) for part in parts], axis=2)


def _correction(known: Floats, leads: NDArray[np.int64], coefficients: Floats) -> Floats:
    """GBP/MWh to add to the forecast, shape (n, leads)."""
    return np.einsum("nlf,lf->nl", _features(known, leads), coefficients)


def _ridge(features: Floats, target: Floats) -> Floats:
    """Least squares with a penalty in units of each feature's mean square, shape (features,)."""
    size = np.sqrt((features**2).mean(axis=0)) + 1e-12
    unit = features / size
    gram = unit.T @ unit / len(unit)
    return np.linalg.solve(gram + RIDGE * np.eye(len(size)), unit.T @ target / len(unit)) / size


def _weights(belief: Floats, centres: Floats) -> Floats:
    """Share of each state in a belief: the two centres that enclose it, by distance, shape (n, S)."""
    return np.column_stack([np.interp(belief, centres, unit) for unit in np.eye(centres.size)])
