"""Several applications in one process, each on its own port."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp


@contextlib.asynccontextmanager
async def serving(*sites: tuple[ASGIApp, socket.socket]) -> AsyncIterator[None]:
    """Serve applications on listening sockets until the context ends; then let requests under way finish."""
    logging.getLogger("a2a").setLevel(logging.CRITICAL)  # it logs a traceback for every request that it refuses
    servers = [(_Server(_config(app)), listening) for app, listening in sites]
    tasks = [asyncio.create_task(server.serve(sockets=[listening])) for server, listening in servers]
    try:
        while not all(server.started for server, _ in servers):
            for ended in (task for task in tasks if task.done()):
                ended.result()
            await asyncio.sleep(0.01)
        yield
    finally:
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


def end_on_terminate() -> None:
    """Let a termination signal do what Ctrl-C does: cancel the current task, so that it cleans up.

    Ctrl-C itself may be ignored: shells start processes in the background like that.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(task.cancel))


class _Server(uvicorn.Server):
    """Leaves signals to the process, which runs several of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=5
    )
