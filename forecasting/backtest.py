"""Backtest every forecaster on every target: `python -m forecasting.backtest data=gb data.path=FOLDER`.

The same as `python forecast.py`, from the project's root: a backtest is configured by Hydra and scored by
`evaluation`, which stand above this package, so the entry point is only called by its name.
"""

from runpy import run_module

if __name__ == "__main__":
    run_module("forecast", run_name="__main__", alter_sys=True)
