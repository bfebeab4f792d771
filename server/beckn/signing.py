"""Signing and verifying Beckn messages: Ed25519 over a BLAKE2b-512 digest of the body, carried in a header.

Source: BECKN-006 "Signing Beckn APIs in HTTP", Draft 04. What the document calls BLAKE-512 is BLAKE2b with a digest of
64 bytes, over the bytes as they travel.
"""

import base64
import binascii
import hashlib
import re
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ALGORITHM: Final = "ed25519"
SIGNED: Final = "(created) (expires) digest"
CREATED_TOLERANCE_S: Final = 5  # a sender's clock may be this far ahead; an expired message is expired
KEY_BYTES: Final = 32
PARAMETERS: Final = ("keyId", "algorithm", "created", "expires", "headers", "signature")

_PARAMETER: Final = re.compile(r'\s*([A-Za-z]+)\s*=\s*"([^"]*)"\s*(?:,|$)')


class BadSignature(Exception):
    """A message whose sender cannot be believed; the text says why."""


class Signature(NamedTuple):
    """What a signature header says.

    Attributes:
        subscriber_id: Who signed.
        key_id: Which of the signer's keys; empty where a network allows one per signer.
        created: Unix time in seconds.
        expires: Unix time in seconds.
        value: The signature itself.
    """

    subscriber_id: str
    key_id: str
    created: int
    expires: int
    value: bytes


def digest(body: bytes) -> str:
    """Base64 of the BLAKE2b-512 digest of a body."""
    return base64.b64encode(hashlib.blake2b(body, digest_size=64).digest()).decode()


def signing_string(body: bytes, created: int, expires: int) -> bytes:
    """What is signed: three lines joined by single line feeds."""
    return f"(created): {created}\n(expires): {expires}\ndigest: BLAKE-512={digest(body)}".encode()


def header(body: bytes, subscriber_id: str, key_id: str, key: Ed25519PrivateKey, created: int, expires: int) -> str:
    """The value of `Authorization`, or of `X-Gateway-Authorization`, for a body.

    Args:
        body: The bytes that will be sent, exactly.
        subscriber_id: Who signs.
        key_id: Which key, as the registry knows it.
        key: Its private half.
        created: Unix time in seconds.
        expires: Unix time in seconds; created + ttl of the message.
    """
    value = base64.b64encode(key.sign(signing_string(body, created, expires))).decode()
    name = f"{subscriber_id}|{key_id}|{ALGORITHM}"
    return (
        f'Signature keyId="{name}",algorithm="{ALGORITHM}",created="{created}",expires="{expires}",'
        f'headers="{SIGNED}",signature="{value}"'
    )


def read(text: str) -> Signature:
    """Take a signature header apart; order and spaces of its parameters do not matter.

    Raises:
        BadSignature: It is not one, or names another algorithm.
    """
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "signature":
        raise BadSignature(f"the scheme is {scheme[:20]!r}; sign the message: Signature keyId=...")
    said: dict[str, str] = {}
    end = 0
    while end < len(rest):
        parameter = _PARAMETER.match(rest, end)
        if parameter is None or parameter[1] in said:
            raise BadSignature(f'the signature header cannot be read from character {end}; write name="value", ...')
        said[parameter[1]], end = parameter[2], parameter.end()
    missing = [
        name for name in ("keyId", "algorithm", "created", "expires", "headers", "signature") if name not in said
    ]
    if missing:
        raise BadSignature(f"the signature header lacks {', '.join(missing)}")
    subscriber_id, _, key = said["keyId"].partition("|")
    key_id, _, algorithm = key.rpartition("|")
    if not subscriber_id or {algorithm, said["algorithm"]} != {ALGORITHM}:
        raise BadSignature(f'the key must be named "subscriber|key|{ALGORITHM}" and the algorithm be {ALGORITHM}')
    if said["headers"].split() != SIGNED.split():
        raise BadSignature(f"{said['headers'][:60]!r} is signed; {SIGNED!r} must be")
    try:
        value = base64.b64decode(said["signature"], validate=True)
        return Signature(subscriber_id, key_id, _seconds(said["created"]), _seconds(said["expires"]), value)
    except (binascii.Error, ValueError) as error:
        raise BadSignature(f"the signature header holds no base64 signature and unix times: {error}") from error


def verify(said: Signature, body: bytes, key: Ed25519PublicKey, now: int) -> None:
    """Believe a message or not.

    Args:
        said: The header that came with it.
        body: Its bytes as they came.
        key: The signer's public key from the registry.
        now: Unix time in seconds.

    Raises:
        BadSignature: It was signed in the future, has expired, or is not what the key signed.
    """
    if said.created > now + CREATED_TOLERANCE_S:
        raise BadSignature(f"signed {said.created - now} s in the future; set the sender's clock")
    if said.expires <= now or said.expires < said.created:
        raise BadSignature(f"expired {now - said.expires} s ago; sign it again")
    try:
        key.verify(said.value, signing_string(body, said.created, said.expires))
    except InvalidSignature:
        raise BadSignature("the signature does not match the body and the sender's key") from None


def private_key(text: str) -> Ed25519PrivateKey:
    """A signing key from base64: a seed of 32 bytes, or seed and public key in 64.

    Raises:
        ValueError: It is neither.
    """
    raw = _base64_key(text, (KEY_BYTES, 2 * KEY_BYTES))
    key = Ed25519PrivateKey.from_private_bytes(raw[:KEY_BYTES])
    if raw[KEY_BYTES:] not in (b"", key.public_key().public_bytes_raw()):
        raise ValueError("the second half of the signing key is not the public key of the first; give the 32-byte seed")
    return key


def public_key(text: str) -> Ed25519PublicKey:
    """A verifying key from base64, 32 bytes.

    Raises:
        ValueError: It is none.
    """
    return Ed25519PublicKey.from_public_bytes(_base64_key(text, (KEY_BYTES,)))


def _base64_key(text: str, sizes: tuple[int, ...]) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) not in sizes:
        raise ValueError(f"a key must be base64 of {' or '.join(map(str, sizes))} bytes; got {len(raw)} bytes")
    return raw


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ValueError(f"{text[:20]!r} is no unix time in seconds")
    return int(text)
