"""Fitted forecasters on disk: JSON and arrays, nothing that runs code when it is read.

A folder names a kind from a closed table; a forecaster that is a plain tuple of numbers and text is one JSON file, one
that is more writes and reads its own.
"""

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from forecasting.forecast import Forecaster

KIND: Final = "forecaster.json"
# A name is all that stands in a folder; modules load when a kind is met, because some bring heavy libraries.
KINDS: Final = {
    "deviation": ("forecasting.deviation", "DeviationForecaster"),
    "persistence": ("forecasting.persistence", "PersistenceForecaster"),
    "seasonal_naive": ("forecasting.seasonal_naive", "SeasonalNaiveForecaster"),
    "prophet": ("forecasting.prophet", "ProphetForecaster"),
    "lstm": ("forecasting.lstm", "LstmForecaster"),
    "ensemble": ("forecasting.ensemble", "EnsembleForecaster"),
    "boosted": ("forecasting.boosted", "BoostedForecaster"),
}


def save(forecaster: Forecaster, folder: Path) -> str:
    """Write a fitted forecaster.

    Args:
        forecaster: Of a class in `KINDS`.
        folder: Where; what lies there already is replaced file by file.

    Returns:
        SHA-256 over every file written, by name.

    Raises:
        ValueError: Its class is not in `KINDS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = type(forecaster).__name__
    kind = next((key for key, (_, known) in KINDS.items() if known == name), None)
    if kind is None:
        raise ValueError(f"a {name} cannot be saved; allowed are {sorted(known for _, known in KINDS.values())}")
    own = getattr(forecaster, "save", None)
    described: dict[str, Any] = {"kind": kind}
    if own is None:
        described["fields"] = _plain(forecaster)
    else:
        own(folder)
    (folder / KIND).write_text(json.dumps(described, allow_nan=False))
    return digest(folder)


def load(folder: Path) -> Forecaster:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: There is no forecaster, or a file of it is missing.
        ValueError: It is damaged or of an unknown kind.
    """
    file = folder / KIND
    if not file.is_file():
        raise FileNotFoundError(f"no {KIND} in {str(folder)!r}; save the forecaster again")
    try:
        described = json.loads(file.read_text())
        module, name = KINDS[described["kind"]]
        forecaster = getattr(import_module(module), name)
        if "fields" not in described:
            return forecaster.load(folder)
        return TypeAdapter(forecaster).validate_python(described["fields"])
    except (KeyError, TypeError, json.JSONDecodeError, ValidationError) as error:
        raise ValueError(f"the forecaster in {folder} cannot be read ({error}); save it again") from error


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of every file below a folder."""
    found = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        found.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def _plain(value: Any) -> Any:
    """Named tuples as objects, all the way down."""
    if hasattr(value, "_asdict"):
        return {key: _plain(inner) for key, inner in value._asdict().items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value
