"""Where each service lives; a local server can stand in for any of them."""

import os
from collections.abc import Mapping
from typing import NamedTuple, Self


class Endpoints(NamedTuple):
    """Base URLs without a trailing slash. None of these services asks for a key."""

    elexon: str = "https://data.elexon.co.uk/bmrs/api/v1"
    neso: str = "https://api.neso.energy/api/3/action"
    lccc: str = "https://dp.lowcarboncontracts.uk/api/3/action"
    open_meteo: str = "https://api.open-meteo.com/v1"
    open_meteo_archive: str = "https://archive-api.open-meteo.com/v1"
    carbon_intensity: str = "https://api.carbonintensity.org.uk"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read `GRIDPILOT_ELEXON_URL`, `GRIDPILOT_NESO_URL` and so on; what is not set keeps its default."""
        urls = {name: environment.get(f"GRIDPILOT_{name.upper()}_URL") for name in cls._fields}
        return cls(**{name: url.rstrip("/") for name, url in urls.items() if url})
