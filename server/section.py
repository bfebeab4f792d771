"""A part of the service as HTTP sees it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NamedTuple

from fastapi import APIRouter


class Section(NamedTuple):
    """Paths, and what works beside them.

    Attributes:
        router: The paths.
        running: A context that lasts as long as the server; sections start in order and stop in reverse.
    """

    router: APIRouter
    running: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
