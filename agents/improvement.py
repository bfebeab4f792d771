"""One step of policy improvement, learnt from what every decision would have brought.

A battery is too small to move prices, so a recorded path tells exactly what each action from each charge earns when
the planner goes on from there: no action need be tried, and none is drawn at random. The mean of that advantage, given
what was known, is regressed by boosted trees; acting on it improves on the planner (the policy improvement theorem:
Howard, "Dynamic Programming and Markov Processes", 1960; one step of it, by rollout: Tesauro and Galperin, NeurIPS
1996; learning where the noise comes from outside: Sinclair et al., "Hindsight Learning for MDPs with Exogenous
Inputs", ICML 2023). The trees are fitted to what the planner's own advantage missed, so that where they know nothing
the planner decides.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from tqdm import tqdm

from agents.bundle import FOREST as KIND
from agents.bundle import NETWORKS
from agents.improved_dp import ACTIONS, CHARGE, Advice, Features, ImprovedDpPolicy, after
from baselines.dp import StochasticDpPolicy
from data import splits
from data.schema import PERIOD_H
from envs.battery import HORIZON_H, BatterySystem
from envs.fields import FloatArray, position
from envs.single import SystemEnv
from forecasting.trees import Forest
from models.settlement import adders_gbp, energy_gbp

logger = logging.getLogger(__name__)
Floats = NDArray[np.float64]

CHARGES: Final = 16  # charges that returns are kept at, evenly over the allowed band
DRAWN_CHARGES: Final = 3  # of them that each period teaches at
REST: Final = ACTIONS.index(0.0)  # what the others are measured against
MISS_BOUND: Final = 3.0  # in units: beyond it the trees learn that it was a spike, not how high


class ImprovementTrainer:
    """Learns `improved_dp`; trained in a minute or two, so it is not resumed but begun again.

    Attributes:
        name: What the policy is called in scores and bundles.
    """

    name = "improved_dp"

    def __init__(
        self,
        system: BatterySystem,
        run_dir: str | Path,
        adviser: Callable[[SystemEnv], StochasticDpPolicy],
        seed: int = 0,
        potential_gbp: object = None,
        members: int = 4,
        trees: int = 200,
        leaves: int = 31,
        rows_a_leaf: int = 2000,
        learning_rate: float = 0.03,
        l2: float = 100.0,
    ) -> None:
        """Fit the planner that is improved on.

        Args:
            system: What is controlled, on the training split.
            run_dir: Where the policy goes.
            adviser: Makes the planner for an environment.
            seed: Of what the trees draw.
            potential_gbp: Not used; rewards are shaped for other learners.
            members: Forests that are averaged, each with draws of its own.
            trees: Of each.
            leaves: Most leaves of a tree.
            rows_a_leaf: Fewest rows in a leaf.
            learning_rate: Of boosting.
            l2: Penalty on the value of a leaf, in rows.
        """
        self.run_dir, self._system, self._seed, self._members, self._trees = Path(run_dir), system, seed, members, trees
        self.adviser = adviser(SystemEnv(system))
        self.features = Features(self.adviser, system.observation_fields)
        band = self.adviser.grid.energy_kwh
        self.energy_kwh: Floats = np.linspace(band[0], band[-1], CHARGES)
        self._settings: dict[str, Any] = {
            "objective": "regression",
            "learning_rate": learning_rate,
            "num_leaves": leaves,
            "min_data_in_leaf": rows_a_leaf,
            "lambda_l2": l2,
            "feature_fraction": 0.3,
            "bagging_fraction": 0.5,
            "bagging_freq": 1,
            "max_bin": 63,
            "num_threads": 1,
            "deterministic": True,
            "verbosity": -1,
        }

    def load_checkpoint(self) -> int:
        """There is none.

        Raises:
            ValueError: Always.
        """
        raise ValueError("improved_dp takes a minute or two and keeps no checkpoints; train it anew without resume=")

    def learn(
        self,
        total_steps: int,
        score: Callable[[ImprovedDpPolicy], float],
        score_every: int,
        checkpoint_every: int,
        progress_bar: bool = True,
    ) -> bool:
        """Play every action from every charge along the training split, fit the trees, write the policy.

        Args:
            total_steps: Not used: the split is gone through once.
            score: Value of a policy on validation, GBP; it is only logged.
            score_every: Not used.
            checkpoint_every: Not used.
            progress_bar: Show one.

        Returns:
            True: nothing ends it early but an exception.
        """
        observations = self.observations()
        with tqdm(total=len(observations), desc="planning", unit="period", disable=not progress_bar) as bar:
            advice = self.features.advice(observations, bar.update)
        policy = ImprovedDpPolicy(self.adviser, self._system.observation_fields, self.fit(observations, advice))
        logger.info("%.0f GBP on validation", score(policy))
        self.run_dir.mkdir(parents=True, exist_ok=True)
        part = self.run_dir / (NETWORKS[KIND] + ".part")
        part.write_bytes(policy.to_bytes())
        part.replace(self.run_dir / NETWORKS[KIND])
        return True

    def observations(self) -> FloatArray:
        """What is seen at each period of the training split, far from the end of an episode; charges are empty."""
        scenario, fields = self._system.scenario, self._system.observation_fields
        rows = splits.rows(scenario.timestamps, scenario.split)
        lanes = np.zeros(rows.stop - rows.start, self._system.lane)
        lanes["period"] = np.arange(rows.start, rows.stop)
        lanes["stop"] = lanes["period"] + int(HORIZON_H / PERIOD_H)
        seen = np.empty((lanes.size, len(fields)), dtype=np.float32)
        self._system.observe(lanes, seen)
        assert not seen[:, position(fields, CHARGE)].any()
        return seen

    def fit(self, observations: FloatArray, advice: Advice) -> Forest:
        """Regress what the planner's advantages missed.

        Args:
            observations: From `observations`, shape (n, fields).
            advice: What the planner says at them.
        """
        import lightgbm as lgb  # a trained policy does without

        everywhere = np.broadcast_to(self.energy_kwh, (len(observations), CHARGES))
        planned = self.features.planned(observations, advice, everywhere)
        unit_gbp = self.features.unit_gbp(observations)
        earned = self.returns_gbp(planned.argmax(axis=2))
        missed = (earned - earned[:, :, REST : REST + 1]) / unit_gbp[:, None, None] - planned
        boosters: dict[int, list[lgb.Booster]] = {a: [] for a in range(len(ACTIONS)) if a != REST}
        for member in range(self._members):
            seed = self._seed * self._members + member
            rng = np.random.default_rng(seed)
            drawn = np.argsort(rng.random((len(observations), CHARGES)), axis=1)[:, :DRAWN_CHARGES]
            at = np.take_along_axis(planned, drawn[:, :, None], axis=1)
            table = self.features.table(observations, advice, self.energy_kwh[drawn], at)
            data = lgb.Dataset(table, free_raw_data=False)
            for action, found in boosters.items():
                target = np.take_along_axis(missed[:, :, action], drawn, axis=1).ravel()
                data.set_label(np.clip(target, -MISS_BOUND, MISS_BOUND))
                found.append(lgb.train({**self._settings, "seed": seed}, data, self._trees))
        return Forest.of([booster for found in boosters.values() for booster in found])

    def returns_gbp(self, chosen: NDArray[np.int64]) -> Floats:
        """What each action from each charge of the grid brings, over the rest of the training split.

        Args:
            chosen: Index of the action that is taken at each charge in every later period, shape (n, CHARGES).

        Returns:
            GBP, shape (n, CHARGES, actions); a constant per period is left out, so compare within a period only.
        """
        system, market = self._system, self._system.scenario.market
        rows = splits.rows(system.scenario.timestamps, system.scenario.split)
        moved = [after(system.battery, self.energy_kwh, share) for share in ACTIONS]
        left_kwh, power_kw = (np.ascontiguousarray(np.array(each).T) for each in zip(*moved, strict=True))
        metered_kwh = power_kw * PERIOD_H
        end_gbp_per_kwh = system.battery.discharge_efficiency * market.end_price_gbp_per_mwh[rows.stop] / 1000.0
        return _returns_gbp(
            system.adders,
            system.battery.wear_gbp_per_kwh,
            market.imbalance_price_gbp_per_mwh[rows],
            market.carbon_g_per_kwh[rows],
            self.energy_kwh,
            left_kwh,
            metered_kwh,
            chosen,
            self.energy_kwh * end_gbp_per_kwh,
        )


@njit(cache=True)
def _returns_gbp(
    adders: Any,
    wear_gbp_per_kwh: float,
    price_gbp_per_mwh: np.ndarray,
    carbon_g_per_kwh: np.ndarray,
    energy_kwh: np.ndarray,
    left_kwh: np.ndarray,
    metered_kwh: np.ndarray,
    chosen: np.ndarray,
    last_gbp: np.ndarray,
) -> np.ndarray:
    """Backward recursion; see `ImprovementTrainer.returns_gbp`."""
    periods, charges = chosen.shape
    actions = left_kwh.shape[1]
    found = np.empty((periods, charges, actions))
    later = last_gbp.copy()
    for t in range(periods - 1, -1, -1):
        for i in range(charges):
            for a in range(actions):
                kwh = metered_kwh[i, a]
                _, energy_gbp_ = energy_gbp(0.0, kwh, 0.0, price_gbp_per_mwh[t])
                network_gbp, carbon_gbp = adders_gbp(adders, kwh, carbon_g_per_kwh[t])
                worth = np.interp(left_kwh[i, a], energy_kwh, later)
                found[t, i, a] = energy_gbp_ + network_gbp + carbon_gbp - wear_gbp_per_kwh * abs(kwh) + worth
        for i in range(charges):
            later[i] = found[t, i, chosen[t, i]]
        later -= later.mean()  # what all charges have in common would swallow the digits that differ
    return found
