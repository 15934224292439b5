"""JSON in and out: one shape for each noun, which the API, the command line and the console share.

Modules are imported when they are first used as `schemas.endpoints`: a command that prints a table builds
no model.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from delivery.schemas import (
        api_keys,
        audit,
        base,
        credentials,
        dead_letters,
        deliveries,
        delivery_filter,
        endpoint_health,
        endpoints,
        event_types,
        events,
        exports,
        filter_tests,
        health,
        key_rotation,
        outbox,
        portal_links,
        replays,
        retention,
        sequences,
        tenants,
        timeline,
        users,
    )


def __getattr__(name: str) -> "ModuleType":
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError:
        raise AttributeError(f"{__name__} has no module {name}") from None
