"""A planner that learnt where it errs: `stochastic_dp` with its advantages corrected by boosted trees.

The planner knows what storing now is worth on its own forecast; the trees, what that forecast and plan missed on the
training split (`agents.improvement`). The policy charges, rests or discharges at full power, whatever then is best.
"""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from agents.relative_prices import FLOOR_GBP_PER_MWH, RelativePrices
from baselines.dp import StochasticDpPolicy
from baselines.price_chain import PriceChain
from data.schema import PERIOD_H
from envs.battery import QUARTER_PAST, observation_fields
from envs.fields import Field, FloatArray, position, positions
from envs.information import FIELDS, FORECAST_PREFIX
from forecasting.trees import Forest
from models import battery as battery_model
from models.battery import Battery
from models.settlement import Adders

Floats = NDArray[np.float64]

ACTIONS: Final = (-1.0, 0.0, 1.0)  # shares of the highest power
NEAR_LEADS: Final = 8  # forecasts that the trees read; what comes later they know from the worth of energy
CORRECTED_LEADS: Final = 6  # corrections of the forecast by the planner's chain that they read
BOUND: Final = 5.0  # in usual deviations
CHARGE: Final = "charge_fraction"
FOREST: Final = "forest_"
ADVISER: Final = "adviser"


class Advice(NamedTuple):
    """What the planner says at n decisions.

    Attributes:
        path_gbp_per_mwh: Corrected forecast, shape (n, 48).
        worth_gbp: Worth after this period of each charge of its grid, shape (n, points).
    """

    path_gbp_per_mwh: Floats
    worth_gbp: Floats


class Features:
    """What the trees read of an observation and of the planner's advice, per charge."""

    def __init__(self, adviser: StochasticDpPolicy, fields: Sequence[Field]) -> None:
        """Bind to a planner and its observation layout.

        Raises:
            ValueError: Periods are decided twice.
        """
        if QUARTER_PAST in fields:
            raise ValueError("improved_dp decides each half-hour once; use env=battery, or agent=ppo for 15 minutes")
        self._adviser, self._relative = adviser, RelativePrices(fields)
        self._first = position(fields, FIELDS[0].name)
        self._forecast = positions(fields, FORECAST_PREFIX)
        self._near = slice(self._first, self._forecast.start + NEAR_LEADS)
        self._deviations = [
            position(fields, name)
            for name in (
                "known_deviation_gbp_per_mwh",
                "earlier_deviation_gbp_per_mwh",
                "day_mean_deviation_gbp_per_mwh",
            )
        ]

    def advice(self, observations: FloatArray, progress: Callable[[int], object] | None = None) -> Advice:
        """Ask the planner, one observation after the other: (n, fields)."""
        said = []
        for observation in observations:
            said.append(self._adviser.outlook(observation))
            if progress:
                progress(1)
        return Advice(np.array([path for path, _ in said]), np.array([worth for _, worth in said]))

    def unit_gbp(self, observations: FloatArray) -> Floats:
        """What advantages are counted in: the day's usual spread of prices on a period at full power, shape (n,)."""
        forecast = observations[:, self._forecast].astype(np.float64)
        spread = np.abs(forecast - forecast.mean(axis=1, keepdims=True)).mean(axis=1) + FLOOR_GBP_PER_MWH
        return spread / 1000.0 * self._adviser.grid.battery.max_charge_kw * PERIOD_H

    def planned(self, observations: FloatArray, advice: Advice, energy_kwh: Floats) -> Floats:
        """The planner's advantage of each of `ACTIONS` over resting, in units: charges (n, E) to (n, E, actions)."""
        grid = self._adviser.grid
        buy, sell = grid.unit_gbp_per_kwh(advice.path_gbp_per_mwh[:, :1])
        rest_gbp = _at(grid.energy_kwh, advice.worth_gbp, energy_kwh)
        gained = []
        for share in ACTIONS:
            left_kwh, power_kw = after(grid.battery, energy_kwh, share)
            paid_gbp = np.where(power_kw > 0.0, buy, sell) * (left_kwh - energy_kwh)
            gained.append(_at(grid.energy_kwh, advice.worth_gbp, left_kwh) - paid_gbp - rest_gbp)
        return np.asarray(np.stack(gained, axis=2) / self.unit_gbp(observations)[:, None, None])

    def table(self, observations: FloatArray, advice: Advice, energy_kwh: Floats, planned: Floats) -> FloatArray:
        """Rows for the trees: shape (n * E, features)."""
        n, charges = energy_kwh.shape
        relative = self._relative.of(observations)[:, self._near]
        shown = observations[:, self._first :]
        scale = self._adviser.chains[0].scale_gbp_per_mwh(shown)
        spread = self.unit_gbp(observations) / self._adviser.grid.battery.max_charge_kw / PERIOD_H * 1000.0
        corrected = advice.path_gbp_per_mwh - observations[:, self._forecast]
        seen = np.column_stack([
            relative,
            np.clip(observations[:, self._deviations] / scale[:, None], -BOUND, BOUND),
            np.log(scale),
            np.log(spread),
            corrected[:, :CORRECTED_LEADS] / spread[:, None],
        ])  # fmt: skip
        own = np.stack([energy_kwh / self._adviser.grid.battery.capacity_kwh, planned[..., 0], planned[..., 2]], axis=2)
        rows = np.concatenate([np.repeat(seen, charges, axis=0), own.reshape(n * charges, -1)], axis=1)
        return np.ascontiguousarray(rows, dtype=np.float32)


class ImprovedDpPolicy:
    """Charges, rests or discharges: whichever has the highest corrected advantage.

    Attributes:
        adviser: The planner.
        forest: Its corrections.
    """

    def __init__(self, adviser: StochasticDpPolicy, fields: Sequence[Field], forest: Forest) -> None:
        """Put a planner and its corrections together.

        Args:
            adviser: The planner.
            fields: Observation layout.
            forest: Corrections of discharging (first half of the models) and charging (second half), in units.
        """
        self.adviser, self.forest = adviser, forest
        self._features, self._charge = Features(adviser, fields), position(fields, CHARGE)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Full discharge, rest or full charge, shape (1,)."""
        capacity_kwh = self.adviser.grid.battery.capacity_kwh
        seen, energy_kwh = observation[None], np.array([[float(observation[self._charge]) * capacity_kwh]])
        advice = self._features.advice(seen)
        planned = self._features.planned(seen, advice, energy_kwh)
        missed = self._missed(self._features.table(seen, advice, energy_kwh, planned))
        return np.array([ACTIONS[int((planned[0, 0] + missed).argmax())]], dtype=np.float32)

    def _missed(self, row: FloatArray) -> Floats:
        """Correction of each of `ACTIONS`, the mean of all members, in units: one row to (actions,)."""
        discharge, charge = self.forest.predict(row).reshape(2, -1).mean(axis=1)
        return np.array([discharge, 0.0, charge])

    def to_bytes(self) -> bytes:
        """Everything it needs, as the bytes of an .npz file that holds no pickle."""
        grid = self.adviser.grid
        adviser = {
            "battery": grid.battery._asdict(),
            "adders": grid.adders._asdict(),
            "points": grid.energy_kwh.size,
            **self.adviser.fitted(),
            "spread_fraction": self.adviser.spread_fraction,
        }
        stream = io.BytesIO()
        np.savez_compressed(
            stream, allow_pickle=False, **self.forest.arrays(FOREST), **{ADVISER: np.array(json.dumps(adviser))}
        )
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, network: bytes | Path) -> Self:
        """Read what `to_bytes` wrote, from memory or a file.

        Raises:
            ValueError: It holds something else.
        """
        try:
            with np.load(io.BytesIO(network) if isinstance(network, bytes) else network, allow_pickle=False) as arrays:
                told: dict[str, Any] = json.loads(str(arrays[ADVISER]))
                forest = Forest.from_arrays(arrays, FOREST)
        except KeyError as error:
            raise ValueError(f"the policy lacks {error}; train it again") from error
        battery, adders, fields = Battery(**told["battery"]), Adders(**told["adders"]), observation_fields(30)
        chains = [PriceChain.from_json(chain) for chain in told["chains"]]
        adviser = StochasticDpPolicy(battery, adders, fields, chains, told["spread_fraction"], told["points"])
        return cls(adviser, fields, forest)


def after(battery: Battery, energy_kwh: Floats, share: float) -> tuple[Floats, Floats]:
    """Stored energy after a period at a share of the highest power, and the grid power exchanged; same shapes."""
    asked_kw = battery_model.asked_kw(battery, share)
    done = [battery_model.step(battery, energy, asked_kw, PERIOD_H) for energy in energy_kwh.ravel().tolist()]
    left_kwh, power_kw = np.array(done).T.reshape(2, *energy_kwh.shape)
    return left_kwh, power_kw


def _at(grid_kwh: Floats, worth_gbp: Floats, energy_kwh: Floats) -> Floats:
    """Worth between grid points, row by row: (points,), (n, points), (n, E) to (n, E)."""
    at = np.clip((energy_kwh - grid_kwh[0]) / (grid_kwh[1] - grid_kwh[0]), 0.0, grid_kwh.size - 1)
    cell = np.minimum(at.astype(np.int64), grid_kwh.size - 2)
    low, high = (np.take_along_axis(worth_gbp, cell + k, axis=1) for k in (0, 1))
    return np.asarray(low + (at - cell) * (high - low))
