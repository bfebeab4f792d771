"""Logs: one JSON object a line, or plain text where a person watches."""

import logging
import sys
from typing import Final

import structlog
from structlog.typing import Processor

SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,  # the request's id, where there is one
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    lambda logger, name, event: {key: value for key, value in event.items() if key != "color_message"},  # uvicorn's
)
QUIET: Final = ("httpx", "apscheduler", "alembic", "hishel")  # their every step is not news


def write_logs(as_json: bool) -> None:
    """Send the logs of all libraries, and of us, to standard error in one form."""
    last: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if not as_json:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
