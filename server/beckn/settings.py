"""What the Beckn provider is told by its environment: who it is on the network, its keys, and whom it may call."""

import base64
import os
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.beckn.inbox import MessageIds
from server.settings import FOLDER_VARIABLE

PREFIX: Final = "BPP_"


class PlannedBy(StrEnum):
    """What decides which job runs when: the greedy scheduler, or a plan of all jobs together."""

    GREEDY = "greedy"
    MPC = "mpc"


class BppSettings(BaseSettings):
    """One variable `BPP_<NAME>` each, or a file of that name in the folder that `CREDENTIALS_DIRECTORY` names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, hide_input_in_errors=True, frozen=True, extra="ignore")

    provider_id: str = Field("flexcompute-hpc", description="Our name: on the network and as a provider.")
    uri: str | None = Field(None, description="Where buyers reach us; the address we listen on if not given.")
    domain: str = Field("nic2004:energy:compute-flex", description="Kind of trade.")
    signing_key: SecretStr | None = Field(None, description="Ed25519, base64; one for this run is made if not given.")
    key_id: str = Field("1", description="Name of the signing key in the registry.")
    registry_url: str | None = Field(
        None, description="Whose subscribers are believed; without it anybody is, on this machine only."
    )
    registry_signing_key: str | None = Field(None, description="Ed25519 public key of the registry, base64.")
    registry_encryption_key: str | None = Field(None, description="X25519 public key of the registry, base64 or DER.")
    encryption_key: SecretStr | None = Field(None, description="X25519 private key, base64 or DER, for the challenge.")
    callback_message_id: MessageIds = Field(
        MessageIds.ECHO, description="Whether a callback carries the request's id or its own."
    )
    callbacks_allowed: str = Field(
        "", description="host:port,... that may be called though they are not on the public internet."
    )
    baseline: str = Field("10_of_10", description="How delivery is measured, see docs/beckn.md.")
    payment: str = Field("delivered", description="What delivery earns, see docs/beckn.md.")
    least_price_gbp_per_mwh: float = Field(0.0, ge=0.0, description="Nothing is sold for less.")
    planner: PlannedBy = Field(PlannedBy.GREEDY, description="What plans jobs and prices their flexibility.")
    max_power_kw: float = Field(12_000.0, gt=0.0, description="Power of all planned jobs together.")
    name: str = Field("FlexCompute HPC Cluster", description="Of the platform, for people.")
    provider_name: str = Field("FlexCompute London Zone", description="Of the provider, for people.")
    phone: str = Field("+44-20-0000-0000", description="Of support.")
    email: str = Field("support@flexcompute.example", description="Of support.")
    support_url: str = Field("https://flexcompute.example/support", description="Of support.")
    jobs_path: Path | None = Field(None, validation_alias="COMPUTE_AGENT_JOBS_PATH", description="Jobs to plan.")
    grid_data: Path | None = Field(None, description="Folder of a grid table; synthetic prices if not given.")

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment.

        Raises:
            ValueError: A value is not allowed; the message names the variable and never the value.
        """
        files: dict[str, Any] = {"_secrets_dir": os.environ.get(FOLDER_VARIABLE)}
        try:
            return cls(**files)
        except ValidationError as error:
            wrong = [(str(e["loc"][0]).upper(), e["msg"]) for e in error.errors()]
            raise ValueError("; ".join(f"{PREFIX}{name}: {text}" for name, text in wrong)) from None

    @property
    def allowed(self) -> frozenset[str]:
        """`callbacks_allowed` as a set."""
        return frozenset(filter(None, (one.strip() for one in self.callbacks_allowed.split(","))))


def raw_key(text: str) -> bytes:
    """The 32 bytes of a key: base64 of them, or of the DER structure that ends in them.

    Raises:
        ValueError: It is neither.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) not in (32, 44, 48):
        raise ValueError(f"a key must be base64 of 32 bytes or of its DER form; got {len(raw)} bytes")
    return raw[-32:]
