"""Logs: one line an event of ours, with ids, never with a secret or a body."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from io import StringIO
from typing import TYPE_CHECKING, TextIO

import structlog

from delivery.domain.sanitize import escape_control_chars

if TYPE_CHECKING:
    from delivery.config import Settings


class _Stderr:
    """Writes lines to whatever stderr is now. A log that cannot be written must not stop a delivery."""

    def __init__(self, *_: object) -> None:
        """There is nothing to open."""

    def msg(self, line: str) -> None:
        """Write one line; a broken pipe, a full disk or a closed stream lose it."""
        with suppress(OSError, ValueError):
            # In one piece, so that threads do not write into each other's lines.
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = warn = error = exception = critical = fatal = failure = err = log = msg


def _escape_line(
    _logger: object, _method: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Write out what would begin a line that is none of ours, or command the terminal that shows it."""
    return {
        name: escape_control_chars(value) if isinstance(value, str) else value for name, value in line.items()
    }


def _write_traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Write a traceback whose lines cannot be taken for the log's own, whatever is in its message.

    Plain: rich's would show local variables, secrets among them, and take seconds to draw.
    """
    told = StringIO()
    structlog.dev.plain_traceback(told, exc_info)
    out.writelines(f"\n  | {escape_control_chars(line)}" for line in told.getvalue().splitlines() if line)


def configure_logging(settings: Settings) -> None:
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
        shared.append(_escape_line)
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Stderr,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            # Libraries' lines in the form of ours: whoever reads JSON gets nothing else.
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])
    # pika writes a dozen lines for each broken connection; whoever used it says so in one.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
