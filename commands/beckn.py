"""`python main.py beckn`: sell the site's flexibility on a Beckn network."""

import logging
import signal
import sys
from typing import Annotated

import typer

from commands.failure import told


def beckn(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine's need a registry.")] = (
        "127.0.0.1"
    ),
) -> None:
    """Run the Beckn provider (BPP) until stopped; BPP_... variables say who it is, see docs/beckn.md."""
    import uvicorn
    from sqlalchemy.exc import DatabaseError

    from dispatch.audit import Audit
    from dispatch.store import Store
    from server.address import is_loopback
    from server.beckn.app import create_bpp
    from server.beckn.settings import BppSettings
    from server.settings import Settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with told(ValueError, OSError, DatabaseError):
        bpp, common = BppSettings.from_environment(), Settings.from_environment()
        if bpp.registry_url is None and not is_loopback(host):
            raise ValueError(
                f"host is {host!r} and BPP_REGISTRY_URL is not set: anybody could order in any buyer's name; "
                "set it, or listen on 127.0.0.1"
            )
        store = Store(common.database_url.get_secret_value())
        app = create_bpp(bpp, store, Audit(store, common.signing_key), f"http://{host}:{port}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn sends it on once it has stopped
    try:
        uvicorn.run(app, host=host, port=port, log_config=None, access_log=False)
    finally:
        store.close()
