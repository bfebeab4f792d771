"""Work in a process of its own, with a deadline: what does not answer in time is ended and started afresh.

A thread cannot be stopped, and a solver that hangs inside compiled code may hold the interpreter's lock; a process can
be killed. Parent and child exchange pickles over a pipe that nobody else can reach.
"""

import gc
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

logger = logging.getLogger(__name__)

Question = TypeVar("Question")
Answer = TypeVar("Answer")
ROOT: Final = Path(__file__).parent.parent
STOP_WITHIN_S: Final = 5.0


class Unanswered(Exception):
    """There is no answer; the text says why."""


class Told(NamedTuple):
    """What a child says: an answer, or why there is none."""

    answer: Any
    problem: str | None


class Worker(Generic[Question, Answer]):
    """One process that answers one question at a time."""

    def __init__(self, name: str, build: str, *arguments: Any) -> None:
        """Start the process; it gets ready while the caller goes on.

        Args:
            name: For messages.
            build: Called in the process with `arguments`; what it returns answers the questions. A function as
                `MODULE:NAME`, so that who starts the process need not load what the process needs.
            *arguments: Anything that can be pickled.
        """
        self._name = name
        self._recipe = pickle.dumps((build, arguments))
        self._asking = threading.Lock()
        self._start()

    def ask(self, question: Question, within_s: float) -> Answer:
        """Ask, and wait no longer than that, for the answers to other callers included.

        Raises:
            Unanswered: It failed, is not ready yet, or did not answer in time and was ended.
        """
        deadline = time.monotonic() + within_s
        if not self._asking.acquire(timeout=within_s):
            raise Unanswered(f"{self._name} was busy for {within_s:g} s")
        try:
            self._await_ready(deadline)
            self._pipe.send(question)
            return self._told(deadline, within_s)
        except (OSError, EOFError) as error:
            self._restart()
            raise Unanswered(f"the process of {self._name} ended ({type(error).__name__}); started again") from error
        finally:
            self._asking.release()

    def await_ready(self, within_s: float) -> None:
        """Wait until questions can be asked.

        Raises:
            Unanswered: It could not be built, or took too long.
        """
        with self._asking:
            self._await_ready(time.monotonic() + within_s)

    def close(self) -> None:
        """End the process."""
        self._kill()

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-m", "dispatch.worker", str(theirs.fileno())]
        path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
        environment = {**os.environ, "PYTHONPATH": path}
        self._process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the parent's; when that ends, the pipe tells the child
        )
        theirs.close()
        self._ready = False
        self._pipe.send_bytes(self._recipe)

    def _await_ready(self, deadline: float) -> None:
        if self._ready:
            return
        try:
            if not self._pipe.poll(max(deadline - time.monotonic(), 0.0)):
                raise Unanswered(f"{self._name} is still starting")
            told: Told = self._pipe.recv()
        except (OSError, EOFError) as error:
            self._restart()
            raise Unanswered(f"{self._name} could not be started ({type(error).__name__})") from error
        if told.problem is not None:
            self._restart()
            raise Unanswered(f"{self._name} could not be built: {told.problem}")
        self._ready = True

    def _told(self, deadline: float, within_s: float) -> Answer:
        if not self._pipe.poll(max(deadline - time.monotonic(), 0.0)):
            self._restart()
            raise Unanswered(f"{self._name} did not answer within {within_s:g} s and was ended")
        told: Told = self._pipe.recv()
        if told.problem is not None:
            raise Unanswered(f"{self._name} failed: {told.problem}")
        answer: Answer = told.answer
        return answer

    def _restart(self) -> None:
        self._kill()
        self._start()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait(STOP_WITHIN_S)
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    """The child: build once, then answer until the parent is gone."""
    gc.disable()  # what is loaded stays
    try:
        build, arguments = pickle.loads(pipe.recv_bytes())
        module, _, name = build.partition(":")
        answer = getattr(import_module(module), name)(*arguments)
    except Exception as error:
        if not isinstance(error, OSError | ValueError):  # those are for the operator, who is told
            logger.exception("cannot be built")
        pipe.send(Told(None, f"{type(error).__name__}: {error}"))
        return
    gc.freeze()
    gc.enable()
    pipe.send(Told(None, None))
    while True:
        question = pipe.recv()
        try:
            told = pickle.dumps(Told(answer(question), None))
        except Exception as error:  # the parent decides what a failure means
            logger.exception("a question was not answered")
            told = pickle.dumps(Told(None, f"{type(error).__name__}: {error}"))
        pipe.send_bytes(told)


if __name__ == "__main__":
    from dispatch import worker  # the same classes as the parent's, which this file run as a program does not have

    try:
        worker._serve(Connection(int(sys.argv[1])))
    except (EOFError, OSError, KeyboardInterrupt):
        sys.exit(0)
