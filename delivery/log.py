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
        for setup in tuple(_deferred_setups):
            if logging.getLevelNamesMapping().get(method.upper(), logging.CRITICAL) < setup.level:
                return _write_nothing
            setup.run()
        return getattr(self._logger, method)


def _write_nothing(*_: object, **_facts: object) -> None:
    """The method of a level that is not logged."""


class _DeferredSetup(logging.Handler):
    """Sets logging up for the first line of ours, or of a library: it is a handler of theirs until then."""

    def __init__(self, set_up: Callable[[], None], level: int) -> None:
        super().__init__(level)
        self._set_up = set_up

    def cancel(self) -> None:
        _deferred_setups.remove(self)
        logging.getLogger().removeHandler(self)

    def run(self) -> None:
        self.cancel()
        self._set_up()

    def emit(self, record: logging.LogRecord) -> None:
        self.run()
        logging.getLogger().handle(record)


_deferred_setups: list[_DeferredSetup] = []


def get_logger() -> Any:
    """The log of a module: structlog's logger, loaded by the first line."""
    return _LazyLogger()


def silence_libraries() -> None:
    """Drop the lines of libraries whose errors our own code reports."""
    # pika writes a dozen lines for each broken connection; our own code writes one.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def set_up_on_first_line(set_up: Callable[[], None], level: str) -> None:
    """Call `set_up` before the first line of at least this level is written, if one is."""
    for earlier in tuple(_deferred_setups):
        earlier.cancel()
    silence_libraries()
    setup = _DeferredSetup(set_up, logging.getLevelNamesMapping()[level.upper()])
    _deferred_setups.append(setup)
    logging.getLogger().addHandler(setup)
