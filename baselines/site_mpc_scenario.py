"""Model predictive control of the whole site under several paths of price, carbon and arrivals."""

from collections.abc import Sequence
from typing import Final, Self

import numpy as np

from baselines.price_chain import PriceChain
from baselines.program import SOLVERS
from baselines.site_fan import SiteFan
from baselines.site_mpc import SiteMpcPolicy, settings, site_of
from baselines.site_outlook import Expectations
from baselines.site_plan import Outlook, Prices
from baselines.site_planner import SitePlanner
from baselines.tail_risk import Risk
from data import splits
from envs.fields import FloatArray, position
from envs.information import FIELDS
from envs.single import SystemEnv
from envs.site import SiteSystem
from envs.site_view import WANTED_LEADS

SHARED_PERIODS: Final = 2  # half-hours decided before the price of the first is published


class SiteScenarioMpcPolicy(SiteMpcPolicy):
    """Rolling plans of the whole site against paths about a corrected forecast.

    As `SiteMpcPolicy`, but the price forecast is corrected by a `PriceChain`, and what is planned is the best against
    the paths of a `SiteFan`: this half-hour, the next and the flexibility offered by then are the same on all of them.
    The objective is (1 - weight) x mean + weight x CVaR of a day's cost.
    """

    def __init__(
        self,
        system: SiteSystem,
        chain: PriceChain,
        fan: SiteFan,
        horizon_h: float = 24.0,
        prices: Prices | None = None,
        expectations: Expectations | None = None,
        spread_fraction: float = 0.5,
        risk: Risk | None = None,
        solvers: Sequence[str] = SOLVERS,
    ) -> None:
        """Compile the program.

        Args:
            system: The site.
            chain: Corrects the forecast; fitted on the training split.
            fan: Paths about it, likewise.
            horizon_h: How far a plan reaches; beyond the 24 hours of the forecasts it repeats them.
            prices: Of what the mean of the future does not show.
            expectations: What neither parameters nor observations tell.
            spread_fraction: Share of the fan's spread that is planned with, see `ScenarioMpcPolicy`.
            risk: Weight and tail of the CVaR; none if not given.
            solvers: CVXPY solvers, tried in turn.

        Raises:
            ValueError: The share is not 0 to 1, the horizon is shorter than the DSO's notice, or there is no solver.
        """
        if not 0.0 <= spread_fraction <= 1.0:
            raise ValueError(f"spread_fraction is {spread_fraction}; 0 to 1 is allowed")
        self.chain, self.fan, self._spread_fraction, self._risk = chain, fan, spread_fraction, risk or Risk()
        first = position(system.observation_fields, FIELDS[0].name)
        self._shown = slice(first, first + len(FIELDS))
        super().__init__(system, horizon_h, prices, expectations, solvers)

    @classmethod
    def for_env(  # type: ignore[override]  # as every policy's own: made by name from the config, never through its base
        cls,
        env: SystemEnv,
        horizon_h: float = 24.0,
        prices: dict[str, float] | None = None,
        expectations: dict[str, float] | None = None,
        states: int = 7,
        paths: int = 20,
        spread_fraction: float = 0.5,
        risk_weight: float = 0.0,
        tail_fraction: float = 0.1,
        solvers: Sequence[str] = SOLVERS,
    ) -> Self:
        """For a site environment; chain and fan are fitted on the training split of its history, nothing else."""
        system = site_of(env)
        history = system.scenario.history
        rows = splits.rows(history.timestamps, history.train)
        price, shown = history.market.imbalance_price_gbp_per_mwh[rows], history.price_information[rows]
        chain = PriceChain.fit(shown, price, states)
        carbon_shown, carbon = history.carbon_outlook[rows, 1:], history.market.carbon_g_per_kwh[rows]
        carbon_price = system.site.adders.carbon_gbp_per_tonne
        fan = SiteFan.fit(chain, shown, price, carbon_shown, carbon, carbon_price, paths)
        return cls(
            system, chain, fan, horizon_h, settings(Prices, prices), settings(Expectations, expectations),
            spread_fraction, Risk(risk_weight, tail_fraction), solvers,
        )  # fmt: skip

    def _planner(self, prices: Prices, horizon: int, solvers: Sequence[str]) -> SitePlanner:
        return SitePlanner(
            self._system.site, self._jobs, prices, horizon, WANTED_LEADS, solvers,
            self.fan.weight.tolist(), SHARED_PERIODS, self._risk,
        )  # fmt: skip

    def _outlooks(self, observation: FloatArray) -> list[Outlook]:
        known, fan, spread = observation[self._shown][None], self.fan, self._spread_fraction
        now = self._reader.read(observation, self.chain.path_gbp_per_mwh(known)[0])
        carbon_gbp_per_kg = self._system.site.adders.carbon_gbp_per_tonne / 1000.0
        missed = self.chain.scale_gbp_per_mwh(known)[0] * fan.price + carbon_gbp_per_kg * fan.carbon_g_per_kwh
        level = fan.levels(self._reader.today, now.level_sd, spread)
        ahead = np.arange(self.planner.horizon) % missed.shape[1]
        return [
            now._replace(
                import_gbp_per_mwh=now.import_gbp_per_mwh + self._reader.settled * spread * missed[i, ahead],
                arriving_kw=now.arriving_kw * level[i],
                level_sd=(1.0 - spread) * now.level_sd,  # what the paths do not show of it
            )
            for i in range(fan.weight.size)
        ]
