"""Whose key is whose: the network's registry, asked once in a while and remembered in between.

Source: Beckn registry API 1.1.1, `/lookup`; the names of the key id differ between implementations and all are read.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.beckn.signing import BadSignature, public_key

REMEMBERED_S: Final = 300.0
TIMEOUT_S: Final = 5.0
USABLE: Final = "SUBSCRIBED"
KEY_IDS: Final = ("unique_key_id", "ukId", "key_id")


class Subscriber(NamedTuple):
    """Someone on the network, with one key.

    Attributes:
        subscriber_id: Name.
        key_id: Of the key.
        key: Verifies what it signed.
        valid_until: Unix time in seconds after which it does not.
    """

    subscriber_id: str
    key_id: str
    key: Ed25519PublicKey
    valid_until: int


class Registry(Protocol):
    """Finds a subscriber's key."""

    async def find(self, subscriber_id: str, key_id: str) -> Subscriber:
        """One subscriber.

        Raises:
            BadSignature: There is none of that name with a usable key of that id.
        """
        ...


class HttpRegistry:
    """A registry reached over HTTP."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        """Remember where it is.

        Args:
            url: Without `/lookup`.
            clock: Unix time in seconds.
        """
        self._url, self._clock = url.rstrip("/"), clock
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)
        self._known: dict[tuple[str, str], tuple[float, Subscriber]] = {}
        self._asking: dict[tuple[str, str], asyncio.Task[Subscriber]] = {}

    async def find(self, subscriber_id: str, key_id: str) -> Subscriber:
        """One subscriber; see `Registry`."""
        asked_at, found = self._known.get((subscriber_id, key_id), (float("-inf"), None))
        if found is not None and self._clock() < asked_at + REMEMBERED_S:
            return found
        name = (subscriber_id, key_id)
        if name not in self._asking:  # many messages of one buyer at once ask the registry once
            self._asking[name] = asyncio.create_task(self._ask(subscriber_id, key_id))
            self._asking[name].add_done_callback(lambda task: self._asking.pop(name))
        return await asyncio.shield(self._asking[name])

    async def close(self) -> None:
        """Give connections back."""
        await self._client.aclose()

    async def _ask(self, subscriber_id: str, key_id: str) -> Subscriber:
        try:
            question = {"subscriber_id": subscriber_id, "unique_key_id": key_id, "ukId": key_id, "key_id": key_id}
            response = await self._client.post(f"{self._url}/lookup", json=question)
            response.raise_for_status()
            rows = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise BadSignature(
                f"the registry cannot be asked for the key of {subscriber_id[:80]!r}: {error}"
            ) from error
        for row in rows if isinstance(rows, list) else [rows]:
            one = _subscriber(row, self._clock())
            if one is not None and (one.subscriber_id, one.key_id) == (subscriber_id, key_id):
                self._known[subscriber_id, key_id] = (self._clock(), one)
                return one
        raise BadSignature(f"the registry knows no usable key {key_id[:80]!r} of {subscriber_id[:80]!r}")


def _subscriber(row: Any, now: float) -> Subscriber | None:
    """Read a row; None if it is none, or its key cannot be used now."""
    try:
        key_id = next((row[name] for name in KEY_IDS if row.get(name)), "")
        begins = _unix(row.get("valid_from"), 0)
        ends = _unix(row.get("valid_until"), 2**40)
        if row.get("status", USABLE) != USABLE or not begins <= now < ends:
            return None
        return Subscriber(row["subscriber_id"], key_id, public_key(row["signing_public_key"]), ends)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _unix(text: str | None, default: int) -> int:
    if text is None:
        return default
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
