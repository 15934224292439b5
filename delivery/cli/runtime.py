"""From a command to its use case and back: find the settings, open the ledger, turn errors into exit codes.

Every command imports this module, also to print its help. So what a run needs is imported when it runs.
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from delivery.bootstrap import Services, open_ledger
from delivery.domain.accounts import Actor
from delivery.domain.errors import Misconfigured, SecretUnreadable, Unavailable, WaybillError
from delivery.domain.sanitize import escape_control_chars
from delivery.log import set_up_on_first_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from delivery.config import Settings

T = TypeVar("T")


class UsageError(WaybillError):
    """The options of a command contradict each other."""


EXIT_REFUSED, EXIT_USAGE, EXIT_UNAVAILABLE = 1, 2, 3

NO_LEDGER_MESSAGE = (
    "There is no ledger to work on. Start an engine in this folder with `make up` (or `waybill dev`), "
    "or set WAYBILL_DATABASE_URL and WAYBILL_SECRET_KEYS to those of one that runs elsewhere."
)


def find_settings() -> Settings:
    """The environment's settings; without a ledger in them, those of the engine that runs from this folder.

    Raises Misconfigured, also when there is neither.
    """
    from delivery.config import read_settings
    from delivery.embedded.state_dir import StateDir

    settings = read_settings()
    running = StateDir.from_settings(settings).read_running_settings()
    if settings.database_url is None:
        if not running:
            raise Misconfigured(NO_LEDGER_MESSAGE)
    elif settings.database_url.text != running.get("database_url"):
        return settings
    return read_settings(running)


def run_use_case(use_case: Callable[[Services], Awaitable[T]]) -> T:
    """Run a use case on the ledger, on an event loop of its own."""
    import asyncio

    settings = find_settings()
    set_up_cli_logs(settings)
    return asyncio.run(_run_with_services(settings, use_case))


def set_up_cli_logs(settings: Settings) -> None:
    """Log to stderr, from warnings on unless WAYBILL_LOG_LEVEL is set."""
    from delivery.config import read_environment

    chosen = "log_level" in read_environment()
    cli_settings = settings if chosen else replace(settings, log_level="warning")

    def configure() -> None:
        from delivery.telemetry.logs import configure_logging

        configure_logging(cli_settings)

    set_up_on_first_line(configure, cli_settings.log_level)


def get_actor() -> Actor:
    """The actor of a change in the audit: the account that runs the command, and its machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an id without an account, as in some containers
        name = str(os.getuid())
    return Actor(f"cli:{name}", socket.gethostname())


def report_error(error: WaybillError) -> int:
    """Print the error to stderr, and return its exit code."""
    print(f"waybill: {escape_control_chars(str(error), keep_newlines=True)}", file=sys.stderr)
    match error:
        case Unavailable():
            return EXIT_UNAVAILABLE
        case Misconfigured() | SecretUnreadable() | UsageError():
            return EXIT_USAGE
        case _:
            return EXIT_REFUSED


async def _run_with_services(settings: Settings, use_case: Callable[[Services], Awaitable[T]]) -> T:
    ledger = open_ledger(settings, "cli")
    services = Services(settings, ledger, has_metrics=False)
    try:
        return await use_case(services)
    except WaybillError:
        raise
    except Exception:
        await _explain_failure(services)
        raise
    finally:
        await services.close()


async def _explain_failure(services: Services) -> None:
    """Raise Unavailable if the ledger has no schema yet, or no partition for today."""
    from delivery.ledger.db import readiness

    await readiness.check_readiness(services.ledger, now=services.clock())
