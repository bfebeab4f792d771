"""Policies side by side in TensorBoard: one run per policy, the same tags for all."""

from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from evaluation.backtest import Run
from evaluation.metrics import weekly


def log_runs(folder: Path, runs: dict[str, list[Run]]) -> None:
    """Write weekly and cumulative value and money terms of every run; the step is the week of the split.

    Args:
        folder: Parent of the policies' own log folders.
        runs: Runs by split.
    """
    for split, played in runs.items():
        for run in played:
            with SummaryWriter(str(folder / f"{run.policy}-{run.seed}"), filename_suffix=f".{split}") as writer:
                terms = [c for c in run.trace.columns if c.endswith("_gbp")]
                for term in terms:
                    values = weekly(run.trace, term)
                    for week, (value, total) in enumerate(zip(values, np.cumsum(values), strict=True)):
                        writer.add_scalar(f"{split}/weekly_{term}", value, week)
                        writer.add_scalar(f"{split}/cumulative_{term}", total, week)
