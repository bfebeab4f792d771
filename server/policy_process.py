"""The process in which a bundle's policy decides; loads nothing itself, so that it can be started before all else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dispatch.worker import Worker

if TYPE_CHECKING:
    from dispatch.ladder import Proposal
    from server.minds import Case


def start_policy(folder: str | Path) -> Worker[Case, Proposal]:
    """Start it; what is wrong with the bundle is told by `await_ready`."""
    return Worker("the policy", "server.practice:policy", Path(folder))
