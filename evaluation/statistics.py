"""Statistics of few runs: interquartile means, performance profiles and probabilities of improvement.

After Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021), each with
a stratified bootstrap interval. A score is one week of one seed. Where the paper resamples the runs of fixed games,
weeks are a sample too: both are drawn, whole weeks first, then seeds within each.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.backtest import IDLE, ORACLE, Run
from evaluation.metrics import RESAMPLES, Interval, percentiles, week_steps, weekly

RULE: Final = "rule"
TRIMMED: Final = 0.25  # of each side
Scores = NDArray[np.float64]  # (seeds, weeks)


class Profile(NamedTuple):
    """Share of weeks and seeds that score above each threshold, with its interval; all of one shape."""

    threshold: NDArray[np.float64]
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def whole_weeks(runs: list[Run]) -> Scores:
    """Money of every seed and whole week, GBP, shape (seeds, weeks); weeks are counted from the start."""
    trace = runs[0].trace
    count = len(trace) // week_steps(trace)
    return np.array([weekly(run.trace)[:count] for run in runs])


def normaliser(runs: dict[str, list[Run]]) -> tuple[str, NDArray[np.float64]]:
    """What scores are divided by: who sets it, and GBP for every week, shape (weeks,).

    With an oracle it is what the oracle gained over idle in the same week, so that a score is a share of perfect
    foresight; where its plan cannot be played as well as it bounds, the weeks are scaled to the bound. Without one it
    is the size of the mean week's gain of the plain rule: single weeks of a rule may gain nothing at all. Weeks without
    a positive value are NaN, and so is all if neither was played.
    """
    anchor = next((name for name in (ORACLE, RULE) if name in runs), IDLE)
    gained = (whole_weeks(runs[anchor]) - whole_weeks(runs[IDLE])).mean(axis=0)
    if anchor == ORACLE:
        gained = gained * _bound_over_played(runs)
    else:
        gained = np.full_like(gained, abs(gained.mean()) if gained.size else np.nan)
    return anchor, np.where(gained > 0.0, gained, np.nan)


def _bound_over_played(runs: dict[str, list[Run]]) -> float:
    """What the bound gains over idle, over what the oracle's plan gained; 1 if there is no bound or no gain."""
    oracle, idle = runs[ORACLE][0], float(runs[IDLE][0].trace["reward_gbp"].sum())
    played = float(oracle.trace["reward_gbp"].sum()) - idle
    share = (oracle.bound_gbp - idle) / played if played > 0.0 else 1.0
    return share if np.isfinite(share) else 1.0


def scores(runs: dict[str, list[Run]]) -> dict[str, Scores]:
    """Normalised scores of every policy but idle: 0 is idle; weeks that cannot be normalised are left out."""
    _, scale = normaliser(runs)
    idle, known = whole_weeks(runs[IDLE])[0], np.isfinite(scale)
    return {name: ((whole_weeks(played) - idle) / scale)[:, known] for name, played in runs.items() if name != IDLE}


def iqm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interquartile mean over the last axis: the mean of what is left when a quarter is cut off at either end."""
    cut = int(TRIMMED * values.shape[-1])
    kept = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut]
    mean: NDArray[np.float64] = kept.mean(axis=-1)
    return mean


def resampled(found: Scores, seed: int = 0, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """Weeks drawn with replacement, then a seed for every place of every drawn week, shape (resamples, seeds, weeks).

    The weeks drawn depend on `seed` and the number of weeks alone, so that two policies meet the same ones.
    """
    seeds, weeks = found.shape
    week_rng, seed_rng = np.random.default_rng(seed).spawn(2)
    drawn = week_rng.integers(weeks, size=(resamples, 1, weeks))
    return found[seed_rng.integers(seeds, size=(resamples, seeds, weeks)), drawn]


def iqm_interval(found: Scores, seed: int = 0) -> Interval:
    """Interquartile mean over weeks and seeds with its stratified bootstrap interval."""
    draws = resampled(found, seed)
    return Interval(float(iqm(found.ravel())), *percentiles(iqm(draws.reshape(len(draws), -1))))


def improvement_interval(found: Scores, rival: Scores, seed: int = 0) -> Interval:
    """Probability that a policy beats a rival in the same week, each with a seed of its own; a tie counts half."""
    return Interval(float(_beats(found, rival)), *percentiles(_beats(resampled(found, seed), resampled(rival, seed))))


def profile(found: Scores, threshold: NDArray[np.float64], seed: int = 0) -> Profile:
    """Performance profile: share of weeks and seeds with a score above each threshold, and its pointwise interval."""
    draws = resampled(found, seed).reshape(RESAMPLES, -1)
    shares = np.array([(draws > value).mean(axis=1) for value in threshold])
    bounds = np.array([percentiles(share) for share in shares])
    above = np.array([(found > value).mean() for value in threshold])
    return Profile(threshold, above, bounds[:, 0], bounds[:, 1])


def aggregate(runs: list[Run], env: str, split: str, reference: str) -> list[dict[str, Any]]:
    """One row per policy over all its seeds.

    Args:
        runs: Every policy on the same split; idle and the reference must be among them.
        env: Environment id, for the row.
        split: Split name, for the row.
        reference: Name of the rival.

    Returns:
        Rows with `policy, env, split, seeds, weeks, normaliser`, the interquartile mean `iqm` and `improvement`, the
        probability of a better week than the reference's, each with a 95 % interval. Empty if no week is whole or can
        be normalised; idle, which is 0 by definition, has no row.
    """
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.policy, []).append(run)
    found = scores(by_name)
    if not next(iter(found.values())).size:
        return []
    rivals = found.get(reference, np.zeros_like(next(iter(found.values()))[:1]))  # idle may be the reference
    rows = []
    for name, each in found.items():
        mean, better = iqm_interval(each), improvement_interval(each, rivals)
        rows.append(
            {
                "policy": name,
                "env": env,
                "split": split,
                "seeds": each.shape[0],
                "weeks": each.shape[1],
                "normaliser": normaliser(by_name)[0],
                "reference": reference,
                "iqm": mean.value,
                "iqm_low": mean.low,
                "iqm_high": mean.high,
                "improvement": better.value,
                "improvement_low": better.low,
                "improvement_high": better.high,
            }
        )
    return rows


def _beats(found: NDArray[np.float64], rival: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over weeks and pairs of seeds, shape (..., seeds, weeks) each in, (...) out."""
    ours, theirs = found[..., :, None, :], rival[..., None, :, :]
    mean: NDArray[np.float64] = ((ours > theirs) + 0.5 * (ours == theirs)).mean(axis=(-3, -2, -1))
    return mean
