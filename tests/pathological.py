"""What may go wrong in a process that decides; imported by that process."""

import ctypes
import os
import time
from dataclasses import dataclass

from dispatch.ladder import Proposal


@dataclass
class Deed:
    """Does one thing per question: answers, raises, hangs in one way or another, or dies."""

    name: str

    def __call__(self, question):
        if question == "well?":
            return "well"
        if self.name == "sleep":
            time.sleep(600.0)
        if self.name == "spin":
            while True:
                pass
        if self.name == "hold the lock":
            ctypes.PyDLL(None).sleep(600)  # unlike CDLL it keeps the interpreter's lock, as a solver may
        if self.name == "die":
            os._exit(7)
        if self.name == "raise":
            raise FloatingPointError("overflow")
        if self.name == "unpicklable":
            return lambda: None
        return Proposal(float("nan")) if self.name == "nan" else Proposal(10.0, (50.0,) * 48)


def build(name):
    return Deed(name)


def cannot_build():
    raise RuntimeError("no licence")


def slow_to_build():
    time.sleep(600.0)
