"""Sending callbacks: signed, to where a buyer may be called and nowhere else, without following anyone elsewhere."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.beckn.outbox import Callback, Outbox
from server.beckn.signing import header

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
VALID_S: Final = 30
AT_ONCE: Final = 64  # on their way
TOGETHER: Final = 8  # begun one right after the other, while requests wait
MOST_SHOWN: Final = 200
MOST_ANSWERED: Final = 65_536


class Forbidden(Exception):
    """An address that must not be called."""


class Signer:
    """Our name and key on the network."""

    def __init__(self, subscriber_id: str, key_id: str, key: Ed25519PrivateKey) -> None:
        """Keep them."""
        self._subscriber_id, self._key_id, self._key = subscriber_id, key_id, key

    def header(self, body: bytes, now: int) -> str:
        """The `Authorization` of a message sent at a Unix time in seconds."""
        return header(body, self._subscriber_id, self._key_id, self._key, now, now + VALID_S)


def check_belongs(bap_id: str, bap_uri: str) -> None:
    """Refuse a callback address on another host than the buyer's own name.

    Raises:
        Forbidden: It is one, or no address.
    """
    try:
        host = (urlsplit(bap_uri).hostname or "").lower()
        name = (urlsplit(bap_id if "//" in bap_id else f"//{bap_id}").hostname or "").lower()
    except ValueError as error:
        raise Forbidden(f"bap_uri {bap_uri[:80]!r} or bap_id {bap_id[:80]!r} is no address: {error}") from error
    if not host or not name or not (host == name or host.endswith("." + name)):
        raise Forbidden(f"bap_uri is on {host[:80]!r}, bap_id is {name[:80]!r}; it must be that host or one under it")


async def public_address(url: str, allowed: frozenset[str]) -> str:
    """The numeric address behind a url, looked up once so that what is checked is what is called.

    Args:
        url: Where to call.
        allowed: `host:port` that may be called whatever they are, for networks of one's own.

    Raises:
        Forbidden: Not https, or on an address inside.
        OSError: The name cannot be looked up.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    free = f"{host}:{port}" in allowed
    if parts.scheme != "https" and not free:
        raise Forbidden(f"{parts.scheme}://{host}:{port} is not https")
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    inside = [address for address in addresses if not address.is_global or address.is_multicast]
    if inside and not free:
        raise Forbidden(f"{host} is at {inside[0]}, which is not on the public internet")
    return str(addresses[0])


class Caller:
    """Sends what is due."""

    def __init__(self, outbox: Outbox, signer: Signer | None, allowed: frozenset[str] = frozenset()) -> None:
        """Put the parts together.

        Args:
            outbox: Holds the callbacks.
            signer: Signs them; None on a network without signatures.
            allowed: See `public_address`.
        """
        self._outbox, self._signer, self._allowed = outbox, signer, allowed
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._outcomes: list[tuple[Callback, str | None]] = []
        self._noting = asyncio.Lock()
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    async def start_due(self, clock: Callable[[], datetime]) -> bool:
        """Begin to send some callbacks that are due and not on their way; a slow buyer keeps no other waiting.

        Returns:
            Whether more of them could begin.
        """
        before = set(self._under_way)  # what was under way when the question was put may look due in its answer
        due = await asyncio.to_thread(self._outbox.due, clock(), 2 * AT_ONCE)
        free = [one for one in due if one.key not in before | self._under_way.keys()][: AT_ONCE - len(self._under_way)]
        for callback in free[:TOGETHER]:
            self._under_way[callback.key] = asyncio.create_task(self._send(callback, clock))
        return len(free) > TOGETHER

    async def close(self) -> None:
        """Stop sending; what was not taken is sent again by the next process."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._client.aclose()

    async def _send(self, callback: Callback, clock: Callable[[], datetime]) -> None:
        try:
            problem = await self._problem(callback, int(clock().timestamp()))
            if problem is not None:
                logger.warning("a callback to %s was not taken: %s", callback.url, problem)
            self._outcomes.append((callback, problem))
            async with self._noting:  # whoever is next notes all that came in while the one before was writing
                outcomes, self._outcomes = self._outcomes, []
                if outcomes:
                    await asyncio.to_thread(self._outbox.sent, outcomes, clock())
        finally:
            del self._under_way[callback.key]

    async def _problem(self, callback: Callback, now: int) -> str | None:
        """Send one; None if the buyer took it, else what went wrong."""
        body = callback.body.encode()
        try:
            async with asyncio.timeout(TIMEOUT_S):  # of all of it: a buyer may send its answer byte by byte, for ever
                request = await self._request(callback.url, body, now)
                response = await self._client.send(request, stream=True)
                try:
                    await _read_some(response)
                finally:
                    await response.aclose()
        except (Forbidden, OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:  # also of what is no host
            return f"{type(error).__name__}: {error}"[:MOST_SHOWN]
        if response.status_code // 100 != 2:
            return f"answered {response.status_code}"
        return None

    async def _request(self, url: str, body: bytes, now: int) -> httpx.Request:
        parts = urlsplit(url)
        address = await public_address(url, self._allowed)
        numeric = f"[{address}]" if ":" in address else address
        target = parts._replace(netloc=f"{numeric}:{parts.port}" if parts.port else numeric).geturl()
        headers = {"content-type": "application/json", "host": parts.netloc}
        if self._signer is not None:
            headers["authorization"] = self._signer.header(body, now)
        # The certificate must be that of the name although the number is called.
        return self._client.build_request(
            "POST", target, content=body, headers=headers, extensions={"sni_hostname": parts.hostname or ""}
        )


async def _read_some(response: httpx.Response) -> None:
    """Read an answer, of which only the status counts, so that its connection can be used again; not without end."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MOST_ANSWERED:
            return
