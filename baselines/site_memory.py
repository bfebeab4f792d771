"""What a policy of the whole site remembers of the episode: only what it was shown."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from baselines.calendar_ahead import HOURS_PER_DAY
from data.arrivals import PERIOD_SHAPE, ExpectedJobs
from models import baseline
from models.baseline import BaselineRules
from models.site import BLOCK_PERIODS

Floats = NDArray[np.float64]

AUCTIONS_PER_DAY: Final = 6
PERIOD_VARIANCE: Final = 1.0 / PERIOD_SHAPE  # of a period's level within its day


class Tenants:
    """What auctions are expected to bring, by hour and kind of day: a prior that results move."""

    def __init__(self, paid_gbp_per_kw: float, sold_share: float, learning: float) -> None:
        """Begin with the prior; `learning` is the weight of a new result."""
        self._paid = np.full((2, AUCTIONS_PER_DAY), paid_gbp_per_kw)
        self._share = np.full((2, AUCTIONS_PER_DAY), sold_share)
        self._learning = learning
        self._offered: tuple[int, int, float] | None = None

    def offered(self, hour: float, weekend: bool, offered_kw: float) -> None:
        """Remember an offer, to compare with its result."""
        self._offered = (int(weekend), self._slot(hour), offered_kw) if offered_kw > 1.0 else None

    def see(self, sold_kw: float, paid_gbp_per_kw: float) -> None:
        """Take note of the result of the last offer."""
        if self._offered is None:
            return
        day, slot, offered_kw = self._offered
        self._offered = None
        self._share[day, slot] += self._learning * (min(sold_kw / offered_kw, 1.0) - self._share[day, slot])
        if sold_kw > 0.0:
            self._paid[day, slot] += self._learning * (paid_gbp_per_kw - self._paid[day, slot])

    def expected(self, hour: Floats, weekend: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Payment per kW and share sold of auctions at these hours, each of the shape given."""
        at = weekend.astype(np.int64), self._slot(hour)
        return self._paid[at], self._share[at]

    @staticmethod
    def _slot(hour: Floats | float) -> NDArray[np.int64] | int:
        slot = np.asarray(hour) * AUCTIONS_PER_DAY // HOURS_PER_DAY
        return slot.astype(np.int64) if slot.ndim else int(slot)


class Arrivals:
    """How busy today is: the level of arrivals over what the hour and kind of day let expect.

    What has arrived in a period is what waits and runs more than what was left of the period before. The level is a
    gamma variable of the day, its prior the generator's; power that arrives counts as so many jobs, as in a Poisson
    process, so the posterior is a gamma again.
    """

    def __init__(self, jobs: ExpectedJobs) -> None:
        self._jobs = jobs
        self._prior = jobs.day_sd**-2
        self._arrived = self._expected = 0.0  # jobs of today
        self._left_kw: float | None = None  # of the period before, had nothing arrived
        self._running_kw = 0.0

    def see(
        self,
        waiting_kw: float,
        running_kw: float,
        promised_kw: float,
        ran_kw: float,
        expected_kw: float,
        new_day: bool,
    ) -> None:
        """Take note of a period's queue.

        Args:
            waiting_kw: Waits now.
            running_kw: Runs now, before the decision.
            promised_kw: Of that, what will run in the next period too.
            ran_kw: Of the jobs that ran in the last period, those started in it included.
            expected_kw: Arrivals expected of this period.
            new_day: Whether this period begins a local day.
        """
        if new_day:
            self._arrived = self._expected = 0.0
        if self._left_kw is not None:
            ended_kw = (1.0 - self._jobs.still_running[1]) * max(ran_kw - self._running_kw, 0.0)
            job_kw = self._jobs.job_kw + PERIOD_VARIANCE * expected_kw
            self._arrived += (waiting_kw + running_kw - self._left_kw + ended_kw) / job_kw
            self._expected += expected_kw / job_kw
        self._left_kw = waiting_kw + promised_kw
        self._running_kw = running_kw

    def ahead(self, today: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Level of arrivals and its standard deviation over it, for periods that belong to today or to later days."""
        certainty = self._prior + self._expected
        level = max(self._prior + self._arrived, 0.1) / certainty
        return np.where(today, level, 1.0), np.where(today, certainty**-0.5, self._jobs.day_sd)


class Blocks:
    """Where in an auction block a period lies: known once an auction has been seen."""

    def __init__(self) -> None:
        self._to_auction: int | None = None

    def see(self, block_starts: bool) -> int:
        """Periods until the next auction, 0 if it is held now; a whole block while none has been seen."""
        if block_starts:
            self._to_auction = 0
        elif self._to_auction is not None:
            self._to_auction = (self._to_auction - 1) % BLOCK_PERIODS
        return BLOCK_PERIODS if self._to_auction is None else self._to_auction


class Metered:
    """The baseline of the coming periods, kept with the model's own rules from the import that was shown."""

    def __init__(self, rules: BaselineRules, expected_kw: float) -> None:
        """Begin with the flat history that an episode begins with."""
        self._rules, self._lane, self._t = rules, np.zeros(1, baseline.LANE)[0], 0
        self._sold_kw = 0.0
        baseline.reset(rules, self._lane, expected_kw)

    def see(self, grid_kw: float, sold_now_kw: float) -> None:
        """Take note of the last period's import and of the flexibility sold for this one."""
        if self._t > 0 and self._sold_kw <= 0.0:
            baseline.record(self._rules, self._lane, self._t - 1, grid_kw)
        self._sold_kw = sold_now_kw
        self._t += 1

    def ahead(self, leads: int) -> Floats:
        """Baseline of this period and the next, shape (leads,)."""
        return np.array([baseline.baseline_kw(self._rules, self._lane, self._t - 1 + k) for k in range(leads)])
