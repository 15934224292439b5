"""The image's promises, without an image: processes write nothing, and report their health."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.deployment_files import get_health_command
from tests.support.scenario import assert_all_arrived, publish_events, subscribe, wait_for_success
from tests.support.stack import WAYBILL, is_ready, wait_until
from tests.support.webhook_partner import Partner

if TYPE_CHECKING:
    from tests.support.api import Api
    from tests.support.stack import Stack

# A mount namespace of its own, in which the root cannot be written to: as `read_only: true` makes it.
ON_A_READ_ONLY_ROOT = ("unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh")


def may_remount() -> bool:
    try:
        tried = subprocess.run([*ON_A_READ_ONLY_ROOT, "true"], capture_output=True, check=False)
    except OSError:
        return False
    return tried.returncode == 0


@pytest.mark.skipif(not may_remount(), reason="only root may mount its root read-only here")
def test_every_process_runs_on_a_root_that_it_cannot_write_to(stack: Stack, operator: Api) -> None:
    refused = subprocess.run(
        [*ON_A_READ_ONLY_ROOT, "touch", "/a-file"], capture_output=True, text=True, check=False
    )
    assert "Read-only" in refused.stderr
    with Partner() as partner:
        for kind in ("web", "relay", "worker"):
            stack.start(kind, *ON_A_READ_ONLY_ROOT, str(WAYBILL), "serve", kind)
        wait_until(lambda: is_ready(stack.port), "web to be ready", seconds=90)
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        events = publish_events(tenant, 10)
        wait_for_success(tenant, 10)
        assert_all_arrived(partner, events)
        assert stack.list_crashed() == []
    stack.stop()
    assert [kind for kind in ("web", "relay", "worker") if "Read-only" in stack.read_log(kind)] == []


def test_the_image_s_health_check_tells_whether_web_answers(stack: Stack) -> None:
    program, *words = get_health_command()
    assert program == "python"

    def healthy() -> bool:
        asked = subprocess.run(
            [sys.executable, *words], env=stack.environment, capture_output=True, check=False
        )
        return asked.returncode == 0

    assert not healthy()
    stack.serve("web")
    assert healthy()
    stack.stop("web")
    assert not healthy()
