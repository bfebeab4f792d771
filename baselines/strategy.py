"""What a trading strategy is: it reads the market, says what it would do and where it would give up, then learns."""

from typing import Literal, NamedTuple, Protocol, TypeVar

from envs.fields import FloatArray

Side = Literal["skip", "buy", "sell"]
State = TypeVar("State")


class Signal(NamedTuple):
    """What a strategy would do at this price.

    Attributes:
        action: Buy, sell, or leave it.
        stop_loss_gbp_per_mwh: Price at which the trade should be given up; None if there is no trade.
        take_profit_gbp_per_mwh: Price at which it should be closed with a gain; None if there is no trade.
    """

    action: Side
    stop_loss_gbp_per_mwh: float | None = None
    take_profit_gbp_per_mwh: float | None = None


class Strategy(Protocol[State]):
    """Three steps a decision; only the last one changes what the strategy remembers."""

    def prepare_state(self, observation: FloatArray) -> State:
        """What the signal is made from: an observation and what is remembered."""
        ...

    def generate_signal(self, state: State) -> Signal:
        """What to do; the same state gives the same signal."""
        ...

    def post_trade_update(self, state: State, signal: Signal) -> None:
        """Remember what was seen and done."""
        ...
