"""From a command to the use cases and back: settings found, the ledger opened, errors made exit codes."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
from typing import TYPE_CHECKING, TypeVar

from delivery.bootstrap import clock, open_ledger, services
from delivery.config import Settings, read_settings
from delivery.errors import Misconfigured, SecretUnreadable, Unavailable, WaybillError
from delivery.home import Home
from delivery.ledger import readiness
from delivery.logs import set_up_logs
from delivery.model import Actor
from delivery.taming import tame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from delivery.bootstrap import Services
    from delivery.ledger import Ledger

T = TypeVar("T")


class WrongUsage(WaybillError):
    """The words of a command do not make sense together."""


REFUSED, USAGE, UNAVAILABLE = 1, 2, 3

NO_LEDGER = (
    "There is no ledger to work on. Start an engine in this folder with `make up` (or `waybill dev`), "
    "or set WAYBILL_DATABASE_URL and WAYBILL_SECRET_KEYS to those of one that runs elsewhere."
)


def find_settings() -> Settings:
    """The environment's settings; where they name no ledger, those of the engine that runs from our folder.

    Raises Misconfigured, also when there is neither.
    """
    settings = read_settings()
    running = Home.of(settings).running()
    if settings.database_url is None:
        if not running:
            raise Misconfigured(NO_LEDGER)
    elif settings.database_url.get_secret_value() != running.get("database_url"):
        return settings
    given = settings.model_dump(exclude_unset=True)
    return Settings.model_validate({**running, **given})


def ask(use: Callable[[Services], Awaitable[T]]) -> T:
    """Run a use case on the ledger, on a loop of its own."""
    settings = find_settings()
    keep_quiet(settings)
    return asyncio.run(_use(settings, use))


def keep_quiet(settings: Settings) -> None:
    """Log to stderr, and no more than warnings unless somebody asked for more."""
    given = "log_level" in settings.model_fields_set
    set_up_logs(settings if given else settings.model_copy(update={"log_level": "warning"}))


def actor() -> Actor:
    """Who is named for a change: the account that runs the command, and its machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an id without an account, as in some containers
        name = str(os.getuid())
    return Actor(f"cli:{name}", socket.gethostname())


def report(error: WaybillError) -> int:
    """Say on one line of stderr what went wrong, and give the exit code that goes with it."""
    print(f"waybill: {tame(str(error), lines=True)}", file=sys.stderr)
    match error:
        case Unavailable():
            return UNAVAILABLE
        case Misconfigured() | SecretUnreadable() | WrongUsage():
            return USAGE
        case _:
            return REFUSED


async def _use(settings: Settings, use: Callable[[Services], Awaitable[T]]) -> T:
    ledger = open_ledger(settings, "cli")
    opened = services(settings, ledger)
    try:
        return await use(opened)
    except WaybillError:
        raise
    except Exception:
        await _explain(ledger)
        raise
    finally:
        await opened.close()


async def _explain(ledger: Ledger) -> None:
    """Raise Unavailable if the surprise was that the ledger has no schema yet, or no place for today."""
    await readiness.check(ledger, now=clock())
