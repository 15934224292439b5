"""`waybill dev`, and commands in the same folder that find its engine without settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from tests.support.stack import wait_until
from tests.support.webhook_partner import CannedResponse, Partner

if TYPE_CHECKING:
    from collections.abc import Iterator

WAYBILL = Path(sys.executable).with_name("waybill")


@pytest.fixture
def environment() -> dict[str, str]:
    """Nothing but what lets receivers be on loopback."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    return others | {"WAYBILL_ALLOW_HTTP": "true", "WAYBILL_ALLOW_NETWORKS": "127.0.0.0/8"}


@pytest.fixture
def engine(tmp_path: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """An engine in this folder."""
    with subprocess.Popen(
        [WAYBILL, "dev"],
        cwd=tmp_path,
        env=environment | {"WAYBILL_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        running = tmp_path / ".waybill" / "running.json"
        wait_until(lambda: running.exists() or process.poll() is not None, "the engine", seconds=60)
        yield process
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)


def test_commands_find_the_engine_and_tell_what_came_of_a_delivery(
    tmp_path: Path, environment: dict[str, str], engine: subprocess.Popen[str]
):
    def waybill(*arguments: str) -> str:
        done = subprocess.run(
            [WAYBILL, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with Partner(lambda _call: CannedResponse(status=200 if len(partner.calls) > 1 else 503)) as partner:
        environment["WAYBILL_TENANT"] = waybill("tenant", "create", "Acme Books").strip()
        made = json.loads(waybill("endpoint", "create", partner.url, "--schedule", "0,0.2,0.2", "--json"))
        partner.secret = made["secret"]
        event = waybill("event", "send", "--type", "order.created", "--data", "[1, 2]").strip()
        wait_until(lambda: partner.count_by_message_id[event] == 2, "two attempts", seconds=30)
        (owed,) = json.loads(waybill("delivery", "list", "--json"))["items"]
        wait_until(
            lambda: "succeeded" in waybill("delivery", "show", owed["id"]), "the record of it", seconds=30
        )
        result = waybill("delivery", "show", owed["id"])
        attempts = json.loads(waybill("delivery", "show", owed["id"], "--json"))["latest_attempts"]
        first = waybill("attempt", "show", attempts[-1]["id"])
    assert partner.unverified == []
    assert [attempt["outcome"] for attempt in attempts] == ["delivered", "refused"]
    assert "1. The endpoint answered 503 Service Unavailable. The endpoint refused;" in result
    assert "2. The endpoint answered 200 OK. The endpoint accepted the delivery." in result
    assert f"webhook-id         {event}" in first
    assert '"data":[1, 2]}' in first
    assert engine.poll() is None


def test_the_first_account_has_the_password_that_is_kept_in_the_folder(
    tmp_path: Path, environment: dict[str, str], engine: subprocess.Popen[str]
):
    def waybill(*arguments: str) -> str:
        return subprocess.run(
            [WAYBILL, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    kept = tmp_path / ".waybill" / "console-password"
    assert kept.stat().st_mode & 0o777 == 0o600
    (admin,) = json.loads(waybill("person", "list", "--json"))["items"]
    assert (admin["email"], admin["role"]) == ("admin@localhost", "admin")
    address = json.loads((tmp_path / ".waybill" / "running.json").read_text())["settings"]["url"]
    form = urlencode({"email": "admin@localhost", "password": kept.read_text().strip()})
    browser = build_opener(HTTPCookieProcessor())
    with browser.open(f"{address}/console/sign-in", form.encode(), timeout=30) as answer:
        assert answer.url == f"{address}/console"
    tenant = waybill("tenant", "create", "Acme Books").strip()
    link = waybill("portal-link", "--tenant", tenant).strip()
    assert link.startswith(f"{address}/console/portal/wbl_")
    assert engine.poll() is None


def test_the_doctor_finds_the_engine_and_nothing_to_mend(
    tmp_path: Path, environment: dict[str, str], engine: subprocess.Popen[str]
):
    done = subprocess.run(
        [WAYBILL, "doctor", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    checks = {one["check"]: one["grade"] for one in json.loads(done.stdout)["checks"]}
    assert "wrong" not in checks.values()
    assert done.returncode == 0
    assert checks["broker"] == checks["schema"] == checks["secrets"] == "ok"
    assert engine.poll() is None


def test_an_interrupted_engine_leaves_nothing_behind(
    tmp_path: Path, environment: dict[str, str], engine: subprocess.Popen[str]
):
    engine.send_signal(signal.SIGINT)
    said, _ = engine.communicate(timeout=40)
    assert engine.returncode == 0, said
    assert "Starting Waybill; Ctrl-C stops it." in said
    assert not (tmp_path / ".waybill" / "running.json").exists()
    after = subprocess.run(
        [WAYBILL, "tenant", "list"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert after.returncode == 2
    assert "There is no ledger to work on" in after.stderr
