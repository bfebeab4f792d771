"""What a backtest of forecasters found for each target, in one JSON that the report is made from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import LOCAL_TIME_ZONE, settlement_date
from evaluation.forecast_scores import by_lead, diebold_mariano, hard_week, losses, reliability, score_rows
from forecasting.forecast import LEADS, Forecast

ROWS: Final = "results.csv"
RESULTS: Final = "results.json"
ISSUED_LOCAL_HOUR: Final = 6  # of each day: the forecasts that a fan chart strings together


class Made(NamedTuple):
    """Forecasts that one forecaster has made, and how.

    Attributes:
        name: Name of the forecaster.
        forecast: Of the scored rows.
        fit_s: Seconds that fitting took.
        predict_ms: Milliseconds that a row's forecast took, over a long table.
        importance: Share of each input, where the forecaster tells.
    """

    name: str
    forecast: Forecast
    fit_s: float
    predict_ms: float
    importance: dict[str, float]

    def write(self, file: Path) -> None:
        """Keep the forecasts, so that a backtest can go on where it stopped."""
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(file.name + ".part.npz")
        told = json.dumps({"fit_s": self.fit_s, "predict_ms": self.predict_ms, "importance": self.importance})
        np.savez(part, mean=self.forecast.mean, quantiles=self.forecast.quantiles, told=np.array(told))
        part.replace(file)

    @classmethod
    def read(cls, name: str, file: Path) -> "Made":
        """Read what `write` wrote."""
        with np.load(file, allow_pickle=False) as arrays:
            told = json.loads(str(arrays["told"]))
            return cls(name, Forecast(arrays["mean"], arrays["quantiles"]), **told)


def target_results(
    column: str,
    made: list[Made],
    truth: NDArray[np.float64],
    index: pd.DatetimeIndex,
    splits: Mapping[str, slice],
    labels: Mapping[str, NDArray[Any]],
) -> dict[str, Any]:
    """Score every forecaster of one target.

    Args:
        column: The target.
        made: Forecasts by each; the first is the naive one, the second the built-in one.
        truth: What came, NaN where it is missing, was published before, or lies beyond the split, shape (n, 48).
        index: Start of each row's period, UTC, shape (n,).
        splits: Rows of each split; the first chooses the best two, the last is reported.
        labels: What else to group scores by, shape (n,) each.

    Returns:
        JSON-ready: `rows` as `score_rows` gives them, with `target`, `split`, `forecaster` and the skill over the
        naive and the built-in forecaster; `by_lead`, `reliability`, `comparison` of the best two, `fan`, `importance`
        and `seconds`.
    """
    naive, builtin = made[0].name, made[1].name
    found: dict[str, Any] = {"column": column, "naive": naive, "builtin": builtin, "rows": []}
    found |= {"by_lead": {}, "reliability": {}, "comparison": {}}
    lost = {one.name: losses(one.forecast, truth) for one in made}
    for split, rows in splits.items():
        groups = {by: values[rows] for by, values in labels.items()}
        here = {name: each.rows(rows) for name, each in lost.items()}
        scored = {name: score_rows(each, groups) for name, each in here.items()}
        found["by_lead"][split] = {name: by_lead(each.pinball).tolist() for name, each in here.items()}
        found["reliability"][split] = {name: reliability(each).tolist() for name, each in here.items()}
        for name, lines in scored.items():
            for i, line in enumerate(lines):
                skills = {
                    f"skill_over_{who}": _skill(line, scored[rival][i])
                    for who, rival in (("naive", naive), ("builtin", builtin))
                }
                found["rows"].append({"target": column, "split": split, "forecaster": name, **line, **skills})
    chosen, reported = next(iter(splits)), list(splits)[-1]
    ranked = sorted(lost, key=lambda name: overall(found, chosen, name).get("pinball", np.inf))
    found["best"], second = ranked[0], ranked[1]
    for split, rows in splits.items():
        pair = lost[found["best"]].pinball[rows], lost[second].pinball[rows]
        found["comparison"][split] = {"first": found["best"], "second": second, **diebold_mariano(*pair)._asdict()}
    found["importance"] = {one.name: one.importance for one in made if one.importance}
    found["seconds"] = {one.name: {"fit_s": one.fit_s, "predict_ms": one.predict_ms} for one in made}
    best = next(one for one in made if one.name == found["best"])
    found["fan"] = _fan(best, truth, index, splits[reported], lost[naive].pinball)
    return found


def overall(found: Mapping[str, Any], split: str, forecaster: str) -> dict[str, Any]:
    """The row of all forecasts of one forecaster on a split."""
    return next(
        row for row in found["rows"] if (row["split"], row["forecaster"], row["by"]) == (split, forecaster, "all")
    )


def write_results(folder: Path, targets: list[dict[str, Any]], capture: list[dict[str, Any]], **told: Any) -> None:
    """Write scores as rows (`results.csv`) and everything the report shows (`results.json`).

    Args:
        folder: Where.
        targets: See `target_results`.
        capture: Rows of `evaluation.backtest.score`, one per forecaster that fed the battery's controller.
        told: What else the report tells: `command`, `provenance`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([row for target in targets for row in target["rows"]]).to_csv(folder / ROWS, index=False)
    everything = {"targets": targets, "capture": capture, **told}
    (folder / RESULTS).write_text(json.dumps(_plain(everything), indent=1, allow_nan=False))


def read_results(folder: str | Path) -> dict[str, Any]:
    """Read what `write_results` wrote.

    Raises:
        FileNotFoundError: The folder holds no results.
    """
    file = Path(folder) / RESULTS
    if not file.is_file():
        raise FileNotFoundError(f"no {RESULTS} in {str(folder)!r}; make one with: python forecast.py")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _skill(line: Mapping[str, Any], rival: Mapping[str, Any]) -> float | None:
    """Share of the rival's pinball loss that was saved."""
    if not line["count"] or not rival.get("pinball"):
        return None
    return float(1.0 - line["pinball"] / rival["pinball"])


def _fan(
    made: Made, truth: NDArray[np.float64], index: pd.DatetimeIndex, rows: slice, pinball: NDArray[np.float64]
) -> dict[str, Any]:
    """Each day's forecast, issued in the morning, over the week in which the naive forecaster lost most."""
    week = hard_week(pinball[rows], settlement_date(index[rows]))
    local = index[rows].tz_convert(LOCAL_TIME_ZONE)
    issues = [
        rows.start + i
        for i in range(week.start, week.stop)
        if (local[i].hour, local[i].minute) == (ISSUED_LOCAL_HOUR, 0)
    ]
    times, came, quantiles = [], [], []
    for issue, following in zip(issues, [*issues[1:], None], strict=True):
        for lead in range(LEADS if following is None else min(following - issue, LEADS)):
            times.append((index[issue] + pd.Timedelta(minutes=30 * lead)).isoformat())
            came.append(float(truth[issue, lead]))
            quantiles.append(made.forecast.quantiles[issue, lead].tolist())
    return {"forecaster": made.name, "times": times, "truth": came, "quantiles": quantiles}


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
