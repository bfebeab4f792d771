"""Writes to the store one after the other, in a thread of its own: who asks waits for the commit, but not for ever.

A database that is slow, full or gone must hold up no decision. What could not be written yet stays in memory, in
order, and is tried again until it is; it is lost only if the process ends first, so nothing may leave this machine on
the strength of a record that is not committed.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import sqlalchemy as sa

from dispatch.store import Store

logger = logging.getLogger(__name__)

MOST_WAITING: Final = 10_000
MOST_AT_ONCE: Final = 64
RETRY_S: Final = 0.5

# Of these a database recovers; any other error is one of the record itself.
GONE: Final = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError)

Write = Callable[[sa.Connection], object]


class Job(NamedTuple):
    """Something to write and the sign that it has been."""

    write: Write
    done: threading.Event


class Recorder:
    """Carries out writes in the order given; several that wait are committed together."""

    def __init__(self, store: Store) -> None:
        """Start the thread."""
        self._store = store
        self._waiting: deque[Job] = deque()
        self._something = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """How many writes are not committed yet."""
        return len(self._waiting)

    def record(self, write: Write, within_s: float) -> bool:
        """Have something written.

        Args:
            write: Called in a writing transaction, perhaps more than once before it is committed.
            within_s: How long to wait.

        Returns:
            Whether it is committed; if not, it will be as soon as the database allows.

        Raises:
            RuntimeError: Too much waits already, or the recorder was closed; this was not taken.
        """
        job = Job(write, threading.Event())
        with self._something:
            if self._closing or len(self._waiting) >= MOST_WAITING:
                raise RuntimeError(f"{len(self._waiting)} records wait for the database; nothing more is taken")
            self._waiting.append(job)
            self._something.notify()
        return job.done.wait(within_s)

    def close(self, within_s: float = 5.0) -> None:
        """Write what waits, as far as time allows, and end the thread."""
        with self._something:
            self._closing = True
            self._something.notify()
        self._thread.join(within_s)
        if self._waiting:
            logger.error("%d records were never written", len(self._waiting))

    def _run(self) -> None:
        while True:
            with self._something:
                while not self._waiting:
                    if self._closing:
                        return
                    self._something.wait()
                batch = list(self._waiting)[:MOST_AT_ONCE]
            try:
                self._commit(batch)
            except GONE as error:
                logger.warning("%d records wait for the database: %s", len(self._waiting), error)
                if self._closing:
                    return
                time.sleep(RETRY_S)

    def _commit(self, batch: list[Job]) -> None:
        """Write a batch in one transaction; where one of them is wrong in itself, each alone, and that one is left."""
        try:
            with self._store.writing() as connection:
                for job in batch:
                    job.write(connection)
        except GONE:
            raise
        except Exception:
            if len(batch) > 1:
                for job in batch:
                    self._commit([job])
                return
            logger.exception("a record that cannot be written was left out")
        with self._something:
            for _ in batch:
                self._waiting.popleft()
        for job in batch:
            job.done.set()
