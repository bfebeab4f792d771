"""Many independent tasks over processes, with one progress display."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any, Final, TypeVar

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Task = TypeVar("Task")
Advance = Callable[[int], object]
Work = Callable[[Task, Advance], object]

LOOK_S: Final = 0.5  # between two looks at how far the workers are

_worker: dict[str, Any] = {}  # what this process was given when it started


def run_all(work: Work[Task], tasks: Sequence[Task], sizes: Sequence[int], jobs: int) -> None:
    """Do every task once; the first error, or Ctrl-C, ends all at once.

    Processes are spawned, not forked, so they share nothing with this one; `work` is sent to each of them once. They
    end with this process, however it ends.

    Args:
        work: Does one task and calls its second argument with every bit of progress; picklable.
        tasks: What to do, in this order as far as there are free processes; picklable.
        sizes: Progress that each task will report.
        jobs: How many processes; with 1 the work is done in this one.

    Raises:
        ValueError: `jobs` is below 1.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; it must be at least 1")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        bar = progress.add_task(_title(0, len(tasks)), total=sum(sizes))
        if min(jobs, len(tasks)) <= 1:
            for done, task in enumerate(tasks):
                work(task, lambda n: progress.advance(bar, n))
                progress.update(bar, description=_title(done + 1, len(tasks)))
            return
        context = multiprocessing.get_context("spawn")
        counter = context.Value("q", 0)
        over, end = context.Pipe(duplex=False)  # once it is closed the workers end, whatever they are at
        given = (work, counter, over)
        with over, end, ProcessPoolExecutor(min(jobs, len(tasks)), context, _begin, given) as pool:
            futures = [pool.submit(_do, task) for task in tasks]
            try:
                left = set(futures)
                while left:
                    finished, left = wait(left, LOOK_S, FIRST_EXCEPTION)
                    for future in finished:
                        future.result()
                    title = _title(len(futures) - len(left), len(futures))
                    progress.update(bar, completed=counter.value, description=title)
            except BaseException:
                end.close()
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _title(done: int, total: int) -> str:
    return f"run {done} of {total}"


def _begin(work: Work[Task], counter: Any, over: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    _worker.update(work=work, counter=counter)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel, over), daemon=True).start()


def _end_with(sentinel: int, over: Connection) -> None:
    """A worker whose parent was killed would wait for work for ever."""
    wait_for([sentinel, over])
    os._exit(1)


def _do(task: Task) -> None:
    _worker["work"](task, _advance)


def _advance(n: int) -> None:
    counter = _worker["counter"]
    with counter.get_lock():
        counter.value += n
