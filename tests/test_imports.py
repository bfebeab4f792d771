"""Imports run one way, and each library is known only where it belongs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each package may import those named; the arrows end in the entry points.
ALLOWED = {
    "data": set(),
    "models": set(),
    "forecasting": {"data"},
    "envs": {"data", "models", "forecasting"},
    "evaluation": {"data", "envs", "forecasting", "baselines"},
    "baselines": {"data", "models", "envs"},
    "agents": {"data", "models", "forecasting", "envs", "baselines"},
    "dispatch": {"data", "models", "forecasting", "envs", "baselines", "agents", "evaluation"},
    "server": {"dispatch", "data", "models", "forecasting", "envs", "baselines", "agents", "evaluation"},
    "commands": {"server", "dispatch", "data"},
}
CONFINED = {
    "hydra": set(),
    "omegaconf": set(),
    "stable_baselines3": {"agents"},
    "sb3_contrib": {"agents"},
    "torch": {"agents", "evaluation", "forecasting"},  # evaluation writes TensorBoard logs with it
    "fastapi": {"server"},
    "pettingzoo": {"envs"},
    "cvxpy": {"baselines"},
    "onnxruntime": {"agents", "forecasting"},
    "prophet": {"forecasting"},
    "lightgbm": {"agents", "forecasting"},
    "sklearn": {"forecasting"},
    "crepes": {"forecasting"},
    "sqlalchemy": {"dispatch", "server", "commands"},
    "alembic": {"dispatch"},
    "cryptography": {"dispatch", "server", "commands"},
    "typer": {"commands"},
    "a2a": {"server"},
    "prometheus_client": {"server"},
    "structlog": {"server"},
    "apscheduler": {"server"},
    "opentelemetry": {"server"},
}


def imported(package: str) -> set[tuple[str, str]]:
    """(file, top-level module) of every import in a package."""
    found = set()
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file} imports relatively"
                names = [node.module]
            found |= {(file.name, name.split(".")[0]) for name in names}
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_no_import_points_back(package):
    ours = {(file, name) for file, name in imported(package) if name in ALLOWED and name != package}
    wrong = {(file, name) for file, name in ours if name not in ALLOWED[package]}
    assert not wrong, f"{package} must not import {wrong}"


@pytest.mark.parametrize("library", sorted(CONFINED))
def test_a_library_is_known_only_where_it_belongs(library):
    users = {package for package in ALLOWED if library in {name for _, name in imported(package)}}
    assert users <= CONFINED[library], f"{library} is imported by {users - CONFINED[library]}"


@pytest.mark.parametrize("module", ["envs", "server.app"])
def test_environments_and_server_load_neither_torch_nor_plotting(module):
    heavy = ("torch", "stable_baselines3", "matplotlib.pyplot")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
