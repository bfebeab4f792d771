"""A policy ready to deploy: one folder of JSON and ONNX or plain arrays, nothing that runs code when it is read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from envs.fields import Field, FloatArray

MANIFEST: Final = "bundle.json"
ONNX: Final = "onnx"
FOREST: Final = "forest"
NETWORKS: Final = {ONNX: "policy.onnx", FOREST: "policy.npz"}  # file of a learnt policy by its kind
FORECASTER: Final = "forecaster"  # a folder
FORMAT: Final = 1


class OnnxPolicy:
    """An exported network; normaliser and action levels are part of the graph."""

    def __init__(self, network: bytes | str | Path) -> None:
        """Load a graph from bytes or a file, to run on one thread."""
        import onnxruntime  # a manifest is read without it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        source = network if isinstance(network, bytes) else str(network)
        self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """The action, shape (action fields,)."""
        return self._session.run(None, {"observation": observation[None]})[0][0]


def kind_of(network: bytes) -> str:
    """Kind of a learnt policy, a key of `NETWORKS`: arrays come as a zip archive, a graph does not."""
    return FOREST if network.startswith(b"PK") else ONNX


def learnt_policy(network: bytes) -> Any:
    """A learnt policy, ready to act."""
    if kind_of(network) == ONNX:
        return OnnxPolicy(network)
    from agents.improved_dp import ImprovedDpPolicy  # compiled code loads when it is met

    return ImprovedDpPolicy.from_bytes(network)


def best_network(run_dir: str | Path) -> bytes:
    """The best policy that a training run has kept.

    Raises:
        FileNotFoundError: The run has none yet.
    """
    for name in NETWORKS.values():
        if (Path(run_dir) / name).is_file():
            return (Path(run_dir) / name).read_bytes()
    raise FileNotFoundError(f"no {' or '.join(NETWORKS.values())} in {run_dir}; let the training reach its first score")


def write_bundle(folder: Path, manifest: dict[str, Any], network: bytes | None = None) -> Path:
    """Write a bundle; an older one in the same place is replaced file by file, the manifest last.

    Args:
        folder: Where.
        manifest: JSON-ready description; see `read_manifest` for what it must hold.
        network: A learnt policy, see `learnt_policy`.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if network is not None:
        _replace(folder / NETWORKS[kind_of(network)], network)
    text = json.dumps({"format": FORMAT, **manifest}, indent=2, allow_nan=False)
    _replace(folder / MANIFEST, text.encode())
    return folder


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read and check a bundle's description.

    Returns:
        Keys `format`, `name`, `policy` (a key of `NETWORKS`, or the name of a baseline), `env`, `observation_fields`,
        `action_fields`, `system` (parameters), `forecaster` (`column` and
        `sha256` of its folder), `scores`, `provenance`.

    Raises:
        FileNotFoundError: No manifest there.
        ValueError: The manifest is not JSON, of another format, or lacks a key.
    """
    file = Path(folder) / MANIFEST
    if not file.is_file():
        raise FileNotFoundError(f"no {MANIFEST} in {str(folder)!r}; make one with: python evaluate.py")
    try:
        manifest = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON ({error}); write the bundle again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{file} is not a bundle of format {FORMAT}; write it again with this version")
    needed = ("name", "policy", "env", "observation_fields", "action_fields", "system", "forecaster", "scores")
    missing = [key for key in needed if key not in manifest]
    if missing:
        raise ValueError(f"{file} lacks {missing}; write the bundle again")
    return manifest


def check_layout(manifest: dict[str, Any], observation: Sequence[Field], action: Sequence[Field]) -> None:
    """Refuse a bundle whose policy was made for other observations or actions.

    Raises:
        ValueError: The layouts differ.
    """
    for key, fields in (("observation_fields", observation), ("action_fields", action)):
        expected = [f.name for f in fields]
        if manifest[key] != expected:
            differing = sorted(set(manifest[key]) ^ set(expected)) or "their order"
            raise ValueError(f"the bundle's {key} differ from this version's in {differing}; train and evaluate again")


def _replace(file: Path, content: bytes) -> None:
    part = file.with_name(file.name + ".part")
    part.write_bytes(content)
    part.replace(file)
