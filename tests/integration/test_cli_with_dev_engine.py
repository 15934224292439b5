"""`waybill dev`, and commands in the same folder that find its engine without settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from tests.support.stack import wait_until
from tests.support.webhook_partner import CannedResponse, Partner

if TYPE_CHECKING:
    from collections.abc import Iterator

WAYBILL = Path(sys.executable).with_name("waybill")


class DevEngine(NamedTuple):
    """`waybill dev` in a folder, and the environment of commands there."""

    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [WAYBILL, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def good(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def running_file(self) -> Path:
        return self.folder / ".waybill" / "running.json"


@contextmanager
def run_dev_engine(folder: Path) -> Iterator[DevEngine]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    environment = others | {"WAYBILL_ALLOW_HTTP": "true", "WAYBILL_ALLOW_NETWORKS": "127.0.0.0/8"}
    with subprocess.Popen(
        [WAYBILL, "dev"],
        cwd=folder,
        env=environment | {"WAYBILL_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        engine = DevEngine(folder, environment, process)
        wait_until(
            lambda: engine.running_file.exists() or process.poll() is not None, "the engine", seconds=60
        )
        yield engine
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=40)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevEngine]:
    with run_dev_engine(tmp_path_factory.mktemp("dev")) as engine:
        yield engine


def test_commands_find_the_engine_and_tell_what_came_of_a_delivery(engine: DevEngine):
    with Partner(lambda _call: CannedResponse(status=200 if len(partner.calls) > 1 else 503)) as partner:
        of_tenant = ("--tenant", engine.good("tenant", "create", "Acme Books").strip())
        endpoint = ("endpoint", "create", partner.url, "--schedule", "0,0.2,0.2", "--json")
        partner.secret = json.loads(engine.good(*endpoint, *of_tenant))["secret"]
        sent = engine.good("event", "send", "--type", "order.created", "--data", "[1, 2]", *of_tenant)
        event = sent.strip()
        wait_until(lambda: partner.count_by_message_id[event] == 2, "two attempts", seconds=30)
        (owed,) = json.loads(engine.good("delivery", "list", "--json", *of_tenant))["items"]
        show = ("delivery", "show", owed["id"], *of_tenant)
        wait_until(lambda: "succeeded" in engine.good(*show), "the record of it", seconds=30)
        result = engine.good(*show)
        attempts = json.loads(engine.good(*show, "--json"))["latest_attempts"]
        first = engine.good("attempt", "show", attempts[-1]["id"], *of_tenant)
    assert partner.unverified == []
    assert [attempt["outcome"] for attempt in attempts] == ["delivered", "refused"]
    assert "1. The endpoint answered 503 Service Unavailable. The endpoint refused;" in result
    assert "2. The endpoint answered 200 OK. The endpoint accepted the delivery." in result
    assert f"webhook-id         {event}" in first
    assert '"data":[1, 2]}' in first
    assert engine.process.poll() is None


def test_the_first_account_has_the_password_that_is_kept_in_the_folder(engine: DevEngine):
    password_file = engine.folder / ".waybill" / "console-password"
    assert password_file.stat().st_mode & 0o777 == 0o600
    (admin,) = json.loads(engine.good("person", "list", "--json"))["items"]
    assert (admin["email"], admin["role"]) == ("admin@localhost", "admin")
    address = json.loads(engine.running_file.read_text())["settings"]["url"]
    form = urlencode({"email": "admin@localhost", "password": password_file.read_text().strip()})
    browser = build_opener(HTTPCookieProcessor())
    with browser.open(f"{address}/console/sign-in", form.encode(), timeout=30) as answer:
        assert answer.url == f"{address}/console"
    tenant = engine.good("tenant", "create", "Acme Books").strip()
    link = engine.good("portal-link", "--tenant", tenant).strip()
    assert link.startswith(f"{address}/console/portal/wbl_")
    assert engine.process.poll() is None


def test_the_doctor_finds_the_engine_and_nothing_to_mend(engine: DevEngine):
    done = engine.run("doctor", "--json")
    checks = {check["check"]: check["grade"] for check in json.loads(done.stdout)["checks"]}
    assert "wrong" not in checks.values()
    assert done.returncode == 0
    assert checks["broker"] == checks["schema"] == checks["secrets"] == "ok"
    assert engine.process.poll() is None


def test_an_interrupted_engine_leaves_nothing_behind(tmp_path: Path):
    with run_dev_engine(tmp_path) as engine:
        engine.process.send_signal(signal.SIGINT)
        said, _ = engine.process.communicate(timeout=40)
        assert engine.process.returncode == 0, said
        assert "Starting Waybill; Ctrl-C stops it." in said
        assert not engine.running_file.exists()
        after = engine.run("tenant", "list")
        assert after.returncode == 2
        assert "There is no ledger to work on" in after.stderr
