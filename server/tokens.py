"""API tokens and what they allow."""

import hashlib
import secrets
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Right(StrEnum):
    """What a token allows; `ADMIN` allows everything."""

    READ = "read"
    DISPATCH = "dispatch"
    TELEMETRY = "telemetry"
    RISK = "risk"
    ADMIN = "admin"


class Token(BaseModel):
    """One token: only its hash is kept. It is 256 random bits, so a plain hash cannot be searched backwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.-]+$")]
    scopes: Annotated[tuple[Right, ...], Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def new_token(name: str, scopes: tuple[Right, ...]) -> tuple[str, Token]:
    """A new secret, and what the server keeps of it."""
    secret = secrets.token_urlsafe(32)
    return secret, Token(name=name, scopes=scopes, sha256=hashlib.sha256(secret.encode()).hexdigest())
