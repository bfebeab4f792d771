"""Whether policies got what they believed they would."""

from typing import Final

import numpy as np
import pandas as pd

from evaluation.metrics import step_h

BELIEVED: Final = "believed_gbp_per_day"  # gain of the coming day, what is in store then counted
HELD: Final = "believed_gbp_per_mwh"  # worth of a MWh in store, before and after it
BELIEFS: Final = ("believed_day_mean", "got_day_mean", "believed_correlation")


def calibration_of(trace: pd.DataFrame) -> dict[str, float]:
    """What a policy expected of the coming day against what the day brought, decision by decision.

    What a day brought is its reward and the change of what is in store, at the worth that the policy gave it.

    Args:
        trace: Rows of `evaluation.rollout.play`.

    Returns:
        `believed_day_mean`, `got_day_mean`, GBP, means over decisions; `believed_correlation` between the two; empty
        for a policy that tells of no belief, or a trace shorter than a day.
    """
    day = round(24.0 / step_h(trace))
    if not {BELIEVED, HELD, "energy_kwh"} <= set(trace.columns) or len(trace) < day + 2:
        return {}
    earned = np.concatenate([[0.0], np.cumsum(trace["reward_gbp"].to_numpy())])
    after_kwh = trace["energy_kwh"].to_numpy()
    made = np.arange(1, len(trace) - day + 1)  # what was in store before the first decision is not in the trace
    stored_mwh = (after_kwh[made + day - 1] - after_kwh[made - 1]) / 1000.0
    got = earned[made + day] - earned[made] + trace[HELD].to_numpy()[made] * stored_mwh
    believed = trace[BELIEVED].to_numpy()[made]
    known = np.isfinite(believed)
    believed, got = believed[known], got[known]
    if believed.size < 2:
        return {}
    spread = believed.std() * got.std()
    return {
        "believed_day_mean": float(believed.mean()),
        "got_day_mean": float(got.mean()),
        "believed_correlation": float(((believed - believed.mean()) * (got - got.mean())).mean() / spread)
        if spread > 0.0
        else float("nan"),
    }
