"""Turn a trained Stable-Baselines3 policy into an ONNX graph that takes raw observations to actions."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from agents.relative_prices import RelativePrices
from envs.choices import Choices
from envs.fields import Field


class DeployedPolicy(nn.Module):
    """Price transform, normaliser, network and action levels as one module: observation in, action out."""

    def __init__(
        self,
        policy: ActorCriticPolicy,
        normaliser: VecNormalize,
        relative: RelativePrices | None,
        action_fields: Sequence[Field],
        choices: Choices | None,
    ) -> None:
        """Collect the parts.

        Args:
            policy: The trained policy.
            normaliser: Holds the statistics the policy was trained with.
            relative: The price transform in front of the normaliser, if any.
            action_fields: Bounds of a continuous action.
            choices: What a discrete policy chooses from, or None if it is continuous.
        """
        super().__init__()
        self._policy, self._relative = policy, relative
        if relative is not None:
            self.register_buffer("_centre", torch.as_tensor(relative.centre))
            self.register_buffer("_spread_weights", torch.as_tensor(relative.spread_weights))
            self.register_buffer("_priced", torch.as_tensor(relative.priced))
        rms = normaliser.obs_rms
        self.register_buffer("_mean", torch.as_tensor(rms.mean, dtype=torch.float32))
        deviation = np.sqrt(rms.var + normaliser.epsilon)
        self.register_buffer("_deviation", torch.as_tensor(deviation, dtype=torch.float32))
        self._clip = float(normaliser.clip_obs)
        self.register_buffer("_low", torch.tensor([f.low for f in action_fields], dtype=torch.float32))
        self.register_buffer("_high", torch.tensor([f.high for f in action_fields], dtype=torch.float32))
        self._counts = [values.size for values in choices.values] if choices else []
        for i, values in enumerate(choices.values if choices else []):
            self.register_buffer(f"_values_{i}", torch.as_tensor(values))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Deterministic actions: (n, observation fields) to (n, action fields)."""
        x = observation
        if self._relative is not None:
            x = self._relative(x, self._centre, self._spread_weights, self._priced)
        x = torch.clamp((x - self._mean) / self._deviation, -self._clip, self._clip)
        latent = self._policy.mlp_extractor.forward_actor(self._policy.pi_features_extractor(x))
        output = self._policy.action_net(latent)
        if not self._counts:
            return self._low + 0.5 * (torch.clamp(output, -1.0, 1.0) + 1.0) * (self._high - self._low)
        scores = torch.split(output, self._counts, dim=1)
        return torch.stack([getattr(self, f"_values_{i}")[s.argmax(dim=1)] for i, s in enumerate(scores)], dim=1)


def to_onnx(policy: DeployedPolicy, n_observation_fields: int) -> bytes:
    """The module as an ONNX graph with input `observation` and output `action`, both with a free batch size."""
    buffer = io.BytesIO()
    example = torch.zeros(2, n_observation_fields)
    policy.eval()
    with warnings.catch_warnings():
        # The exporter that needs no further package warns that it is the older one.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            policy,
            (example,),
            buffer,
            input_names=["observation"],
            output_names=["action"],
            dynamic_axes={"observation": {0: "n"}, "action": {0: "n"}},
            dynamo=False,
        )
    return buffer.getvalue()
