"""The real provider in a process of its own that lives at a time of its own: `python -m tests.bpp_process PORT FILE`.

FILE holds the seconds by which its clock is ahead of this machine's; everything else comes from the environment, as for
`python main.py beckn`.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn

from dispatch.audit import Audit
from dispatch.store import Store
from server.beckn.app import create_bpp
from server.beckn.settings import BppSettings
from server.settings import Settings


def main() -> None:
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    store = Store(Settings.from_environment().database_url.get_secret_value())

    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(file.read_text()))

    app = create_bpp(BppSettings.from_environment(), store, Audit(store), f"http://127.0.0.1:{port}", clock)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
