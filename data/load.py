"""Read a grid table from disk and refuse, at the edge, what would go wrong later."""

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from data.calendar import PERIOD
from data.schema import COLUMNS, INDEX_NAME, PERIODS_PER_DAY

FILE_NAME: Final = "gb_halfhourly.parquet"
LONG: Final = 7 * PERIODS_PER_DAY  # in less, prices may well stay about 0


def load(path: str | Path) -> pd.DataFrame:
    """Load `gb_halfhourly.parquet` from a folder and check it.

    Args:
        path: Folder that holds the file, shaped like the one `python -m data.synthetic` writes.

    Returns:
        The checked table; see `checked`.

    Raises:
        FileNotFoundError: If the folder holds no such file.
        ValueError: If the table breaks the schema; see `checked`.
    """
    file = Path(path) / FILE_NAME
    if not file.is_file():
        raise FileNotFoundError(
            f"no {FILE_NAME} in {str(path)!r}; set data.path to a folder that holds one, write one with: "
            f"python -m data.synthetic --output {path}, or fetch the real one with: python -m data.download"
        )
    return checked(pd.read_parquet(file))


def checked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of `data.schema` as float64 on a regular half-hourly UTC index.

    Gaps stay NaN: filling them is the forecasters' business, because only they know what was published when.

    Args:
        table: Any frame with the schema's columns and a `timestamp_utc` index or column.

    Returns:
        A frame of shape (n_periods, len(COLUMNS)), index named `timestamp_utc`.

    Raises:
        ValueError: Naive or irregular or duplicated timestamps, missing or non-numeric or empty columns,
            infinities, or values outside the plausible range of their unit or, over a week or more, all far within.
    """
    table = table.set_index(INDEX_NAME) if INDEX_NAME in table.columns else table
    index = checked_index(table.index)
    missing = [c.name for c in COLUMNS if c.name not in table.columns]
    if missing:
        raise ValueError(f"the grid table lacks {missing}; it needs {[c.name for c in COLUMNS]}")
    columns = {}
    for column in COLUMNS:
        series = table[column.name]
        if not pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype):
            raise ValueError(f"column {column.name} has dtype {series.dtype}; it must be numeric")
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isnan(values).all():
            raise ValueError(f"column {column.name} holds no value at all; drop the period or supply the series")
        bad = np.flatnonzero((values < column.low) | (values > column.high))
        if bad.size:
            raise ValueError(
                f"column {column.name} is {values[bad[0]]:g} at {index[bad[0]]}; plausible is "
                f"{column.low:g} to {column.high:g} ({bad.size} such values): check its unit"
            )
        if len(values) >= LONG:
            usual = float(np.nanquantile(np.abs(values), 0.9))
            if 0.0 < usual < column.least:
                raise ValueError(
                    f"nine tenths of column {column.name} are within {usual:g} of 0; from {column.least:g} on is "
                    "plausible: check its unit, which may be a thousand times too large"
                )
        columns[column.name] = values
    return pd.DataFrame(columns, index=index)


def table_hash(table: pd.DataFrame) -> str:
    """SHA-256 over index, column names and values: the data's name in reports and bundles."""
    digest = hashlib.sha256(",".join(table.columns).encode())
    digest.update(pd.DatetimeIndex(table.index).as_unit("s").asi8.tobytes())
    digest.update(np.ascontiguousarray(table.to_numpy(dtype=np.float64)).tobytes())
    return digest.hexdigest()


def checked_index(index: pd.Index) -> pd.DatetimeIndex:
    """Return an index as regular half-hours in UTC.

    Raises:
        ValueError: Naive, missing, duplicated or irregular timestamps, or fewer than two.
    """
    if not isinstance(index, pd.DatetimeIndex):
        raise ValueError(f"the index is {type(index).__name__}; it must be timestamps named {INDEX_NAME}")
    if index.tz is None:
        raise ValueError(
            f"the timestamps have no time zone; localise them first, for example table.tz_localize('UTC'), "
            f"so that {INDEX_NAME} is unambiguous"
        )
    index = index.tz_convert("UTC").rename(INDEX_NAME)
    if index.hasnans:
        missing = int(np.count_nonzero(index.isna()))
        raise ValueError(f"{INDEX_NAME} holds {missing} missing timestamps; drop or repair those rows")
    if not index.is_unique:
        raise ValueError(f"timestamp {index[index.duplicated()][0]} occurs twice; keep one row per half-hour")
    if len(index) < 2:
        raise ValueError(f"the table has {len(index)} rows; at least 2 half-hours are needed")
    steps = np.diff(index.to_numpy())
    wrong = np.flatnonzero(steps != PERIOD.to_timedelta64())
    if wrong.size:
        at = int(wrong[0])
        raise ValueError(
            f"after {index[at]} comes {index[at + 1]}; rows must be 30 minutes apart and ascending: "
            "reindex to a regular grid and leave gaps as NaN"
        )
    return index
