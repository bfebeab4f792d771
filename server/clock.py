"""The clock on the wall, watched by one that nobody can set."""

import time
from collections.abc import Callable
from typing import Final

JUMP_S: Final = 2.0  # time services slew by far less between two looks


class Clock:
    """Notices when the wall clock was set."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        """Begin to watch; both give seconds."""
        self._wall, self._steady = wall, steady
        self._apart_s = wall() - steady()
        self.jumped_s = 0.0  # all jumps together since the start

    def jump(self) -> float:
        """Seconds by which the clock was set since the last look, forwards positive; 0 if it was not."""
        apart_s = self._wall() - self._steady()
        jump_s, self._apart_s = apart_s - self._apart_s, apart_s
        if abs(jump_s) < JUMP_S:
            return 0.0
        self.jumped_s += jump_s
        return jump_s
