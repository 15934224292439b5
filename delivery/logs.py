"""Logs: one line an event of ours, with ids, never with a secret or a body."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from delivery.config import Settings


def set_up_logs(settings: Settings) -> None:
    """Write structlog's and the libraries' lines to stderr, as the settings say."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_format == "json":
        shared.append(structlog.processors.format_exc_info)
        last: structlog.typing.Processor = structlog.processors.JSONRenderer()
    else:
        # Plain: rich's tracebacks would show local variables, secrets among them, and take seconds to draw.
        last = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    # pika writes a dozen lines for each broken connection; whoever used it says so in one.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
