"""`delivery.client` and `delivery.outbox`, for one release."""

from __future__ import annotations

import importlib
import subprocess
import sys
from datetime import timedelta

import pytest

import waybill_client
import waybill_client.outbox

# Simulate an interpreter without the package.
WITHOUT_THE_CLIENT = "import sys; sys.modules['waybill_client'] = None; "


def load(name: str):
    sys.modules.pop(name, None)
    with pytest.warns(DeprecationWarning, match=f"{name} is now waybill_client"):
        return importlib.import_module(name)


def test_the_old_names_are_the_new_classes():
    client, outbox = load("delivery.client"), load("delivery.outbox")
    assert client.Client is waybill_client.Client
    assert client.GaveUp is waybill_client.GaveUp
    assert outbox.Outbox is waybill_client.outbox.Outbox


def test_retries_take_their_old_field_names():
    client = load("delivery.client")
    assert client.Retries(most=3, patience=timedelta(seconds=5)) == waybill_client.Retries(
        max_tries=3, give_up_after=timedelta(seconds=5)
    )


@pytest.mark.parametrize(
    ("program", "exit_code", "message"),
    [
        ("import delivery.client", 1, "pip install waybill-client"),
        ("import delivery.outbox", 1, "pip install 'waybill-client[outbox]'"),
        (
            "from workers.main import main; sys.exit(main(['outbox', 'sql']))",
            2,
            "`waybill outbox` needs waybill-client: pip install 'waybill-client[outbox]'",
        ),
    ],
)
def test_the_import_error_names_the_package_to_install(program: str, exit_code: int, message: str):
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_THE_CLIENT + program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == exit_code
    assert message in ran.stderr.splitlines()[-1]
