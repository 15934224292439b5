"""Logs: one line per event, with ids, and never with a secret or a body."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from io import StringIO
from typing import TYPE_CHECKING, TextIO

import structlog

from delivery.domain.sanitize import escape_control_chars
from delivery.log import silence_libraries

if TYPE_CHECKING:
    from delivery.config import Settings


class _Stderr:
    """Writes lines to the current stderr. A log that cannot be written must not stop a delivery."""

    def __init__(self, *_: object) -> None:
        """Take what structlog passes; nothing is opened."""

    def msg(self, line: str) -> None:
        """Write one line; it is lost on a broken pipe, a full disk or a closed stream."""
        with suppress(OSError, ValueError):
            # In one call, so that lines of several threads do not mix.
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = warn = error = exception = critical = fatal = failure = err = log = msg


def _escape_line(
    _logger: object, _method: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape characters that would forge a line of the log, or control the terminal that shows it."""
    return {
        name: escape_control_chars(value) if isinstance(value, str) else value for name, value in line.items()
    }


def _write_traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Write a traceback whose lines cannot be mistaken for lines of the log.

    It is plain, because rich's would show local variables, secrets among them, and take seconds.
    """
    traceback = StringIO()
    structlog.dev.plain_traceback(traceback, exc_info)
    out.writelines(
        f"\n  | {escape_control_chars(line)}" for line in traceback.getvalue().splitlines() if line
    )


def configure_logging(settings: Settings) -> None:
    """Write our lines and those of libraries to stderr, in the form that the settings ask for."""
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
            # Lines of libraries have the same form: readers of JSON get nothing else.
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])
    silence_libraries()
