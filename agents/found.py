"""Learnt policies that training has left on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents.bundle import MANIFEST, NETWORKS, read_manifest
from envs.fields import Field


class Learnt(NamedTuple):
    """A trained policy.

    Attributes:
        name: Its name, for example `ppo`.
        seed: Seed it was trained with.
        network: What `agents.bundle.learnt_policy` reads.
        folder: Of the training run, with its checkpoints.
        config: Configuration of that run.
    """

    name: str
    seed: int
    network: bytes
    folder: Path
    config: dict[str, Any]


def has_checkpoint(folder: Path) -> bool:
    """Whether a training run can be gone on with."""
    return any(folder.glob("checkpoints/*.zip"))


def learnt_policies(
    runs: str | Path, data_hash: str, env: str, fields: Sequence[Field], forecasts: Mapping[str, Any]
) -> list[Learnt]:
    """The newest bundle of each (name, seed) below a folder of runs that was trained on this very task.

    Args:
        runs: Folder with one subfolder per training run.
        data_hash: `data.load.table_hash` of the table in use.
        env: Environment id.
        fields: Its observation layout; a policy made for another one is left out.
        forecasts: What `compose.forecasts_of` says of the evaluation; a policy that learnt on others is left out.
            Older runs do not record all of it.

    Returns:
        Policies by name and seed; empty if there is none.
    """
    newest: dict[tuple[str, int], Learnt] = {}
    for file in sorted(Path(runs).glob(f"*/bundle/{MANIFEST}"), key=lambda found: found.stat().st_mtime):
        manifest = read_manifest(file.parent)
        origin = manifest["provenance"]
        task = (manifest["env"], origin["data_sha256"], manifest["observation_fields"])
        same_forecasts = all(origin["config"].get(key, value) == value for key, value in forecasts.items())
        if manifest["policy"] in NETWORKS and task == (env, data_hash, [f.name for f in fields]) and same_forecasts:
            name, seed = manifest["name"], int(origin["config"]["seed"])
            network = (file.parent / NETWORKS[manifest["policy"]]).read_bytes()
            newest[name, seed] = Learnt(name, seed, network, file.parent.parent, origin["config"])
    return [newest[key] for key in sorted(newest)]
