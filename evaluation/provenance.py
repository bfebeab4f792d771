"""Where a result came from: code, configuration, data and versions."""

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = (
    "gymnasium",
    "numpy",
    "numba",
    "pandas",
    "stable-baselines3",
    "torch",
    "cvxpy",
    "piqp",
    "onnxruntime",
)
# Packages whose code decides what a policy does and what it earns by it.
DECIDING: Final = ("agents", "baselines", "data", "envs", "forecasting", "models")


def provenance(config: dict[str, Any], data_hash: str) -> dict[str, Any]:
    """Everything needed to trace a number back.

    Args:
        config: The resolved configuration.
        data_hash: `data.load.table_hash` of the table used.

    Returns:
        A JSON-ready mapping with keys `commit`, `uncommitted_changes`, `config`, `data_sha256`, `python`,
        `versions`. The commit is None outside a git checkout.
    """
    root = Path(__file__).parent
    commit = _git(root, "rev-parse", "HEAD")
    return {
        "commit": commit,
        "uncommitted_changes": None if commit is None else bool(_git(root, "status", "--porcelain")),
        "config": config,
        "data_sha256": data_hash,
        "python": platform.python_version(),
        "versions": package_versions(),
    }


def code_hash() -> str:
    """SHA-256 over every source file that can change what a policy earns."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for package in DECIDING:
        for file in sorted((root / package).rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def package_versions() -> dict[str, str | None]:
    """Version of every package that a score depends on."""
    return {name: _version(name) for name in PACKAGES}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
