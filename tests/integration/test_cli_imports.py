"""A command that runs imports what it needs, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from delivery.domain.ids import Prefix, format_id
from delivery.domain.secret_box import generate_key
from tests.unit.cli.test_cli_start import HEAVY, PROGRAM

if TYPE_CHECKING:
    from delivery.domain.ids import EndpointId, TenantId

ENDPOINT_LIST = ("endpoint", "list")
EVENT_SEND = ("event", "send", "--type", "order.created", "--data", '{"order": 1042}')
# What other commands need.
UNUSED = {
    ENDPOINT_LIST: (
        "delivery.cli.commands.replays",
        "delivery.destinations",
        "delivery.pipeline",
        "delivery.services.endpoints.service",
        "delivery.services.replays",
        "signing",
    ),
    EVENT_SEND: ("delivery.destinations", "delivery.services", "signing"),
}


def run(arguments: tuple[str, ...], url: str, tenant: TenantId) -> tuple[str, set[str]]:
    """A command's output, and the modules that it imported."""
    settings = {
        "WAYBILL_DATABASE_URL": url,
        "WAYBILL_SECRET_KEYS": generate_key(),
        "WAYBILL_TENANT": format_id(Prefix.TENANT, tenant),
    }
    program = PROGRAM.format(arguments=list(arguments))
    ran = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | settings, capture_output=True, text=True, check=True
    )
    *printed, modules = ran.stdout.splitlines()
    return "\n".join(printed), set(modules.split())


@pytest.mark.parametrize("arguments", UNUSED, ids=lambda arguments: "-".join(arguments[:2]))
async def test_a_command_imports_nothing_that_it_does_not_use(
    arguments: tuple[str, ...], shared_url: str, tenant: TenantId, endpoint: EndpointId
) -> None:
    printed, modules = run(arguments, shared_url, tenant)
    assert "sqlalchemy" in modules
    assert [name for name in (*HEAVY, *UNUSED[arguments]) if name in modules] == []
    assert (format_id(Prefix.ENDPOINT, endpoint) if arguments is ENDPOINT_LIST else "evt_") in printed
