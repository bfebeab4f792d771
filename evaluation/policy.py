"""What a policy is."""

from typing import Protocol

from envs.fields import FloatArray


class Policy(Protocol):
    """Anything that turns an observation into an action.

    Learner, solver, rule and oracle go through the same loop and see the same observation. Only the oracle is
    built with the episode itself.

    Three things are optional. `stochastic = True` on the class says that the seed changes what it does: only such
    policies are played with several seeds. `counts() -> dict[str, int]` tells, after an episode, how often something
    happened that a reader of its score should know, such as a plan that had to be relaxed. `believed() -> dict[str,
    float]` tells, after each decision, what it expects of the coming day: see `evaluation.beliefs`.
    """

    def reset(self, seed: int) -> None:
        """Forget the last episode; draw anything random from `seed`."""
        ...

    def act(self, observation: FloatArray) -> FloatArray:
        """The action for one observation: shape (observation fields,) in, (action fields,) out."""
        ...
