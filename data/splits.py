"""The train, validation and test periods, by UTC date."""

from typing import Final, NamedTuple

import pandas as pd


class Split(NamedTuple):
    """A half-open span of UTC time, written as ISO dates."""

    start: str
    end: str


# Models are fitted on train and chosen on validation; test is read once per report and never tuned to.
SPLITS: Final[dict[str, Split]] = {
    "train": Split("2020-01-01", "2023-07-01"),
    "validation": Split("2023-07-01", "2024-01-01"),
    "test": Split("2024-01-01", "2024-07-01"),
}


def span(split: str) -> Split:
    """Dates of a split.

    Raises:
        ValueError: The split is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; allowed are {sorted(SPLITS)}")
    return SPLITS[split]


def rows(index: pd.DatetimeIndex, split: str | Split) -> slice:
    """Rows of a split in a table.

    Args:
        index: The table's timestamps, tz-aware UTC, ascending.
        split: A name in `SPLITS`, or a span of its own.

    Returns:
        A slice of row positions.

    Raises:
        ValueError: If the split is unknown or the table does not reach into it.
    """
    start, end = (pd.Timestamp(day, tz="UTC") for day in (span(split) if isinstance(split, str) else split))
    first, stop = int(index.searchsorted(start)), int(index.searchsorted(end))
    if stop <= first:
        raise ValueError(
            f"the table covers {index[0]} to {index[-1]} and has no row of split {split!r} ({start} to {end}); "
            "supply data for it or choose another split"
        )
    return slice(first, stop)
