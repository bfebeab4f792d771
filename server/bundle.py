"""What a bundle holds for live dispatch: the battery, its costs, which policy decides and how it forecasts."""

import hashlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from agents.bundle import FORECASTER, MANIFEST, NETWORKS, check_layout, read_manifest
from data.schema import PERIOD_MINUTES
from envs.battery import ACTION_FIELDS, decision_minutes, observation_fields
from envs.fields import Field, FloatArray
from evaluation.policy import Policy
from forecasting.forecast import Forecaster
from forecasting.saved import digest as forecaster_sha256
from forecasting.saved import load as load_forecaster
from models import battery as battery_model
from models.battery import Battery
from models.settlement import Adders, checked_adders

ENV: Final = "gridpilot/Battery-v0"


class Site(NamedTuple):
    """What a bundle says about the battery, its costs and how often it is decided."""

    battery: Battery
    adders: Adders
    decision_minutes: int = PERIOD_MINUTES

    @property
    def observation_fields(self) -> tuple[Field, ...]:
        """What its policy is shown."""
        return observation_fields(self.decision_minutes)


class PolicyName(NamedTuple):
    """Which policy decides.

    Attributes:
        name: As evaluation calls it.
        kind: A key of `POLICIES`.
        bundle_sha256: Of the manifest and, for a learnt policy, its network.
    """

    name: str
    kind: str
    bundle_sha256: str


def _onnx(folder: Path, site: Site, settings: dict[str, Any]) -> Policy:
    policy: Policy = import_module("agents.bundle").OnnxPolicy(folder / NETWORKS["onnx"])
    return policy


def _forest(folder: Path, site: Site, settings: dict[str, Any]) -> Policy:
    policy: Policy = import_module("agents.improved_dp").ImprovedDpPolicy.from_bytes(folder / NETWORKS["forest"])
    return policy


def _mpc(folder: Path, site: Site, settings: dict[str, Any]) -> Policy:
    policy: Policy = import_module("baselines.mpc").MpcPolicy(site.battery, site.adders, site.observation_fields)
    return policy


def _dp(folder: Path, site: Site, settings: dict[str, Any]) -> Policy:
    policy: Policy = import_module("baselines.dp").DpPolicy(
        site.battery, site.adders, site.observation_fields, **settings
    )
    return policy


def _stochastic_dp(folder: Path, site: Site, settings: dict[str, Any]) -> Policy:
    read = import_module("baselines.price_chain").PriceChain.from_json
    chains = [read(chain) for chain in settings["chains"]]
    policy: Policy = import_module("baselines.dp").StochasticDpPolicy(
        site.battery, site.adders, site.observation_fields, chains, settings["spread_fraction"], settings["points"]
    )
    return policy


def _mpc_scenario(folder: Path, site: Site, settings: dict[str, Any]) -> Policy:
    read_chain = import_module("baselines.price_chain").PriceChain.from_json
    read_fan = import_module("baselines.price_fan").PriceFan.from_json
    policy: Policy = import_module("baselines.mpc_scenario").ScenarioMpcPolicy(
        site.battery,
        site.adders,
        site.observation_fields,
        [read_chain(chain) for chain in settings["chains"]],
        [read_fan(fan) for fan in settings["fans"]],
        settings["spread_fraction"],
        import_module("baselines.tail_risk").Risk(settings["risk_weight"], settings["tail_fraction"]),
    )
    return policy


def _rule(folder: Path, site: Site, settings: dict[str, Any]) -> Policy:
    policy: Policy = import_module("baselines.rule").RulePolicy(site.observation_fields, **settings)
    return policy


class _Rest:
    """Asks for zero: what is not a number asks for nothing in simulation, live it is a failure."""

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Zeros, shape (action fields,)."""
        return np.zeros(len(ACTION_FIELDS), dtype=np.float32)


def _idle(folder: Path, site: Site, settings: dict[str, Any]) -> Policy:
    return _Rest()


# A closed table: a bundle names a kind, never code. Modules load when a kind is met, because some bring solvers.
POLICIES: Final[dict[str, Callable[[Path, Site, dict[str, Any]], Policy]]] = {
    "onnx": _onnx,
    "forest": _forest,
    "mpc": _mpc,
    "dp": _dp,
    "stochastic_dp": _stochastic_dp,
    "mpc_scenario": _mpc_scenario,
    "rule": _rule,
    "idle": _idle,
}


class Bundle(NamedTuple):
    """A bundle whose description was checked; policy and forecaster are loaded when asked for."""

    folder: Path
    site: Site
    policy_name: PolicyName
    manifest: dict[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read what evaluation chose.

        Raises:
            FileNotFoundError: There is no bundle, or its network is missing.
            ValueError: It is damaged, or made for another environment, layout or kind of policy.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if manifest["env"] != ENV:
            raise ValueError(f"the bundle is for {manifest['env']!r}; only {ENV!r} is dispatched: evaluate env=battery")
        site = _site(manifest)
        check_layout(manifest, site.observation_fields, ACTION_FIELDS)
        kind = manifest["policy"]
        if kind not in POLICIES:
            raise ValueError(f"the bundle's policy is {kind!r}; this version dispatches {sorted(POLICIES)}")
        files = [MANIFEST, *([NETWORKS[kind]] if kind in NETWORKS else [])]
        missing = [name for name in files if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(f"no {missing[0]} in {str(folder)!r}; write the bundle again: python evaluate.py")
        digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in files)).hexdigest()
        return cls(folder, site, PolicyName(manifest["name"], kind, digest), manifest)

    def policy(self) -> Policy:
        """The policy, ready to act.

        Raises:
            ValueError: It cannot be loaded.
        """
        kind = self.policy_name.kind
        try:
            policy = POLICIES[kind](self.folder, self.site, self.manifest.get("settings", {}))
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise ValueError(
                f"the {kind} policy in {self.folder} cannot be loaded ({error}); write the bundle again"
            ) from error
        policy.reset(0)
        return policy

    def forecaster(self) -> Forecaster:
        """What evaluation saved beside the manifest, and nothing else.

        Raises:
            FileNotFoundError: It is missing.
            ValueError: It is damaged, or not the one the bundle was made with.
        """
        expected = self.manifest["forecaster"]
        if not isinstance(expected, dict) or "sha256" not in expected:
            raise ValueError(
                "the bundle does not say which forecaster it was made with; write it again: python evaluate.py"
            )
        folder = self.folder / FORECASTER
        forecaster = load_forecaster(folder)
        if forecaster_sha256(folder) != expected["sha256"]:
            raise ValueError(f"the forecaster in {folder} is not the one the bundle was made with; write it again")
        return forecaster


def _site(manifest: dict[str, Any]) -> Site:
    try:
        battery, adders = Battery(**manifest["system"]["battery"]), Adders(**manifest["system"]["adders"])
        site = Site(
            battery_model.checked(battery), checked_adders(adders), decision_minutes(manifest["observation_fields"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the bundle's parameters cannot be read ({error}); write it again") from error
    return site
