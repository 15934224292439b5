"""The log of every module. structlog is imported, and set up, for the first line.

Most commands write no line, and structlog, which imports Rich, takes a tenth of their processor time.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class _LazyLogger:
    """Has the methods of structlog's logger."""

    @cached_property
    def _logger(self) -> Any:
        import structlog  # noqa: PLC0415  see above

        return structlog.get_logger()

    def __getattr__(self, method: str) -> Any:
        while _deferred_setups:
            _deferred_setups[-1].run()
        return getattr(self._logger, method)


class _DeferredSetup(logging.Handler):
    """Sets logging up for the first line of ours or of a library, whose own log this handler is in."""

    def __init__(self, set_up: Callable[[], None]) -> None:
        super().__init__()
        self._set_up = set_up

    def run(self) -> None:
        _deferred_setups.remove(self)
        logging.getLogger().removeHandler(self)
        self._set_up()

    def emit(self, record: logging.LogRecord) -> None:
        self.run()
        root = logging.getLogger()
        if record.levelno >= root.level:
            root.handle(record)


_deferred_setups: list[_DeferredSetup] = []


def get_logger() -> Any:
    """The log of a module: structlog's logger, loaded by the first line."""
    return _LazyLogger()


def set_up_on_first_line(set_up: Callable[[], None]) -> None:
    """Call `set_up` before the first line is written, if one is."""
    setup = _DeferredSetup(set_up)
    _deferred_setups.append(setup)
    logging.getLogger().addHandler(setup)
