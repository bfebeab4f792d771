"""What a policy is."""

from typing import Protocol

from envs.fields import FloatArray


class Policy(Protocol):
    """Anything that turns an observation into an action.

    Learner, solver, rule and oracle go through the same loop and see the same observation. Only the oracle is
    built with the episode itself.
    """

    def reset(self, seed: int) -> None:
        """Forget the last episode; draw anything random from `seed`."""
        ...

    def act(self, observation: FloatArray) -> FloatArray:
        """The action for one observation: shape (observation fields,) in, (action fields,) out."""
        ...
