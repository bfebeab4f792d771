"""What a process is told by its environment: secrets and addresses.

The rest (bundle, host, port, limits, how often jobs run) is policy and stands in `conf/serve.yaml`; nothing is in both.
"""

import os
import re
from typing import Annotated, Any, Final, Self

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, Field, HttpUrl, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from dispatch.store import KINDS
from server.tokens import Token

PREFIX: Final = "GRIDPILOT_"
FOLDER_VARIABLE: Final = "CREDENTIALS_DIRECTORY"  # systemd's name for it
URLS: Final = "allowed are sqlite:///FILE and postgresql+psycopg://USER@HOST/NAME"


def _database(secret: SecretStr) -> SecretStr:
    try:
        kind = sa.make_url(secret.get_secret_value()).get_backend_name()
    except sa.exc.ArgumentError:
        raise ValueError(f"it is no database URL; {URLS}") from None
    if kind not in KINDS:
        raise ValueError(f"it names {kind!r}; {URLS}")
    return secret


def _signing_key(text: SecretStr) -> SecretStr:
    try:
        Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text.get_secret_value()))
    except ValueError as error:
        raise ValueError("it must be 64 hexadecimal digits; make one with: python main.py audit key") from error
    return text


class Settings(BaseSettings):
    """One variable `GRIDPILOT_<NAME>` each, or a file of that name in the folder that `CREDENTIALS_DIRECTORY` names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, hide_input_in_errors=True, frozen=True, extra="ignore")

    database_url: Annotated[SecretStr, AfterValidator(_database)] = Field(
        SecretStr("sqlite:///gridpilot.db"), description="Where decisions, orders and the audit log are kept."
    )
    audit_key: Annotated[SecretStr, AfterValidator(_signing_key)] | None = Field(
        None, description="Ed25519 key that signs the audit log's checkpoints; without it there are none."
    )
    tokens: tuple[Token, ...] = Field(
        (), description="Who may ask for what, as a JSON list; without any, only this machine itself is answered."
    )

    otlp_endpoint: HttpUrl | None = Field(
        None, description="Where traces go by OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; none otherwise."
    )

    @field_validator("tokens")
    @classmethod
    def _all_different(cls, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        if len({token.sha256 for token in tokens}) < len(tokens):
            raise ValueError("two tokens have the same hash; make each with: python main.py token new")
        return tokens

    @classmethod
    def from_environment(cls, **given: Any) -> Self:
        """Read the environment.

        Args:
            **given: Values that a command line gave; None stands for nothing given.

        Raises:
            ValueError: A value is not allowed; the message names the variable and never the value.
        """
        known: dict[str, Any] = {"_secrets_dir": os.environ.get(FOLDER_VARIABLE)}
        known |= {name: value for name, value in given.items() if value is not None}
        try:
            return cls(**known)
        except ValidationError as error:
            wrong = [(_where(e["loc"]), e["msg"].removeprefix("Value error, ")) for e in error.errors()]
            raise ValueError("; ".join(f"{PREFIX}{where}: {text}" for where, text in wrong)) from None
        except SettingsError as error:
            name = re.findall(r'field "(\w+)"', str(error))
            raise ValueError(f"{PREFIX}{name[0].upper() if name else '*'}: it is not JSON") from None

    @property
    def signing_key(self) -> Ed25519PrivateKey | None:
        """What signs the audit log."""
        if self.audit_key is None:
            return None
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self.audit_key.get_secret_value()))


def _where(location: tuple[int | str, ...]) -> str:
    name, *inside = location
    return " ".join([str(name).upper(), *(f"[{part}]" for part in inside)])
