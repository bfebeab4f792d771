"""A buyer that costs little: sends signed messages on schedule and takes callbacks, so that the provider is measured.

One event loop and as much of HTTP/1.1 as the two sides of the benchmark speak: bodies with a length, connections kept.
"""

import asyncio
import re
import time
from collections import deque
from typing import Final, cast

import numpy as np

CONNECTIONS: Final = 32
QUIET_S: Final = 120.0  # callbacks still missing after so long do not come
LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
ACK: Final = b'{"message":{"ack":{"status":"ACK"}}}'
TAKEN: Final = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(ACK), ACK)


class _Whole(asyncio.Protocol):
    """Calls `arrived` with the head of every whole HTTP message."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self._buffer = cast(asyncio.Transport, transport), b""  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = LENGTH.search(head)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            self._buffer = self._buffer[size:]
            self.arrived(head)

    def arrived(self, head: bytes) -> None:
        """Take note of a whole message; each of the two sides below does."""
        raise NotImplementedError


class _Callbacks(_Whole):
    """Takes callbacks and counts them."""

    def __init__(self, count: list[int]) -> None:
        self._count = count

    def arrived(self, head: bytes) -> None:
        self._count[0] += 1
        self.transport.write(TAKEN)


class _Line(_Whole):
    """A connection to the provider with at most one message under way."""

    def __init__(self, free: asyncio.Queue["_Line"]) -> None:
        self._free, self.answer = free, asyncio.get_running_loop().create_future()

    def send(self, raw: bytes) -> None:
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(raw)

    def arrived(self, head: bytes) -> None:
        self.answer.set_result((time.perf_counter(), head))
        self._free.put_nowait(self)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(ConnectionError(f"the provider hung up ({error})"))


def request(port: int, verb: str, body: bytes, authorization: str) -> bytes:
    """One message as it travels."""
    head = (
        f"POST /{verb} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"authorization: {authorization}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def buy(port: int, callbacks_port: int, requests: list[bytes], rate: float) -> tuple[np.ndarray, int, float]:
    """Send requests at a steady rate.

    Args:
        port: The provider's.
        callbacks_port: Where callbacks are taken.
        requests: What is sent, in this order.
        rate: Requests a second; each is due at its time whether or not those before it were answered.

    Returns:
        Milliseconds from when each was due until it was acknowledged; how many callbacks came; how many seconds after
        the last acknowledgement the last of them came.

    Raises:
        SystemExit: A request was not acknowledged.
    """
    loop = asyncio.get_running_loop()
    count = [0]
    server = await loop.create_server(lambda: _Callbacks(count), "127.0.0.1", callbacks_port)
    free: asyncio.Queue[_Line] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        _, line = await loop.create_connection(lambda: _Line(free), "127.0.0.1", port)
        free.put_nowait(line)
    answers: deque[asyncio.Future[tuple[float, bytes]]] = deque()
    began = time.perf_counter() + 0.1
    for i, raw in enumerate(requests):
        await asyncio.sleep(max(began + i / rate - time.perf_counter(), 0.0))
        line = await free.get()
        line.send(raw)
        answers.append(line.answer)
    said = await asyncio.gather(*answers)
    refused = [head for _, head in said if not head.startswith(b"HTTP/1.1 200")]
    if refused:
        raise SystemExit(f"{len(refused)} messages were not acknowledged: {refused[0].decode()}")
    acknowledged = time.perf_counter()
    while count[0] < len(requests) and time.perf_counter() < acknowledged + QUIET_S:
        await asyncio.sleep(0.02)
    late_s = time.perf_counter() - acknowledged
    server.close()
    due = began + np.arange(len(requests)) / rate
    return (np.array([at for at, _ in said]) - due) * 1e3, count[0], late_s
