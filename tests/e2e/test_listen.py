"""`waybill listen` and the guide's receivers, as processes that a real engine delivers to."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from delivery.domain.formats import PayloadFormat
from tests.support.scenario import TIMEOUT_SECONDS, list_attempts, publish_events, wait_for_success
from tests.support.stack import ROOT, WAYBILL, find_free_port, is_listening, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.api import Api


@contextmanager
def running(*command: str, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A receiver that listens; it is ended if the test has not done so."""
    # Nothing of the engine's settings: a partner has none.
    own = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=own | environment, cwd=ROOT / "docs" / "examples"
    )
    try:
        wait_until(lambda: is_listening(port), f"{command[0]} on {port}", seconds=TIMEOUT_SECONDS)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # a child of a process that ignores Ctrl-C ignores it too
        process.wait(timeout=TIMEOUT_SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def endpoint(tenant: Api, port: int, **more: Any) -> str:
    """An endpoint at that port; returns its secret."""
    url = f"http://127.0.0.1:{port}/in"
    return str(tenant.post("/v1/endpoints", {"url": url, "filter": ["order.*"], **more})["secret"])


def forged(port: int) -> tuple[int, str]:
    """Send an unsigned request; returns the answer."""
    request = Request(f"http://127.0.0.1:{port}/in", data=b'{"type": "order.created"}')
    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=10)
    with refused.value:
        return refused.value.code, refused.value.read().decode()


def ended(process: subprocess.Popen[str]) -> str:
    """End it by Ctrl-C; returns what it printed."""
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=TIMEOUT_SECONDS) == 0
    assert process.stdout is not None
    return process.stdout.read()


def test_listen_can_simulate_failures_to_test_retries(engine: Api, tmp_path: Path) -> None:
    port, tenant, own = find_free_port(), engine.create_tenant(), tmp_path / "secret"
    own.write_text(endpoint(tenant, port))
    told = ("--secret", f"@{own}", "--fail-first", "1", "--json")
    with running(str(WAYBILL), "listen", "--port", str(port), *told, port=port) as listening:
        events = publish_events(tenant, 2)
        wait_for_success(tenant, 2)
        code, why = forged(port)
        lines = [json.loads(line) for line in ended(listening).splitlines()]
    assert (code, why) == (400, lines[-1]["flaw"])
    heard = [(line["message_id"], line["times"], line["status"]) for line in lines if line["verified"]]
    assert sorted(heard) == sorted((event, *one) for event in events for one in ((1, 500), (2, 204)))
    assert {line["event"]["data"]["number"] for line in lines[:-1]} == {0, 1}
    assert (lines[-1]["verified"], lines[-1]["status"]) == (False, 400)
    for delivery in tenant.list_all("/v1/deliveries"):
        assert [one["response"]["status"] for one in list_attempts(tenant, delivery)] == [500, 204]


@pytest.mark.parametrize("wanted", PayloadFormat)
def test_people_are_shown_what_came_and_how_it_went(
    engine: Api, tmp_path: Path, wanted: PayloadFormat
) -> None:
    port, tenant, own = find_free_port(), engine.create_tenant(), tmp_path / "secret"
    own.write_text(endpoint(tenant, port, format=wanted))
    with running(str(WAYBILL), "listen", "--port", str(port), "--secret", f"@{own}", port=port) as listening:
        (event,) = publish_events(tenant, 1)
        wait_for_success(tenant, 1)
        forged(port)
        said = ended(listening)
    assert f"✓ verified  order.created  {event} → 204" in said
    assert "✗ refused" in said
    assert '"number": 0' in said
    assert said.endswith("2 received, 1 verified, 1 refused as forged.\n")


@pytest.mark.parametrize("secret", ["nonsense", "whsec_"])
def test_invalid_secret_is_rejected_at_start(tmp_path: Path, secret: str) -> None:
    own = tmp_path / "secret"
    own.write_text(secret)
    ran = subprocess.run(
        [str(WAYBILL), "listen", "--secret", f"@{own}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--secret" in ran.stderr


def test_all_given_secrets_verify_during_a_rotation(engine: Api, tmp_path: Path) -> None:
    port, tenant = find_free_port(), engine.create_tenant()
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("whsec_" + base64.b64encode(bytes(32)).decode())
    old.write_text(endpoint(tenant, port))
    told = ("--secret", f"@{new}", "--secret", f"@{old}", "--json")
    with running(str(WAYBILL), "listen", "--port", str(port), *told, port=port) as listening:
        publish_events(tenant, 1)
        wait_for_success(tenant, 1)
        assert [json.loads(line)["verified"] for line in ended(listening).splitlines()] == [True]


def post(port: int, body: bytes, headers: dict[str, str]) -> int:
    """Post to a receiver by hand; returns the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.putrequest("POST", "/in")
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_hostile_requests_cannot_control_the_terminal_or_fill_memory() -> None:
    port = find_free_port()
    with running(str(WAYBILL), "listen", "--port", str(port), port=port) as listening:
        assert post(port, b"\x1b]0;owned\x07\x1b[2J", {"webhook-id": "\x1b[2J\x9b2J"}) == 204
        assert post(port, b"", {"Content-Length": str(17 << 20)}) == 413
        said = ended(listening)
    assert "owned" in said
    assert {letter for letter in said if not letter.isprintable()} == {"\n"}
    assert said.endswith("1 received, 0 verified, 0 refused as forged.\n")


def test_listen_stops_at_once_during_a_delayed_response() -> None:
    port = find_free_port()
    told = ("--delay", "600", "--json")
    with (
        running(str(WAYBILL), "listen", "--port", str(port), *told, port=port) as listening,
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as waiting,
    ):
        waiting.sendall(b"POST /in HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}")
        assert listening.stdout is not None
        assert json.loads(listening.stdout.readline())["event"] == {}
        assert ended(listening) == ""


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = subprocess.run(
            [str(WAYBILL), "listen", "--port", str(port)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"waybill: Cannot listen on 127.0.0.1:{port}: Address already in use.\n"


WSGI = """
from wsgiref.simple_server import make_server
from receiver_wsgi import application
make_server("127.0.0.1", {port}, application).serve_forever()
"""


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_the_examples_for_servers_of_python_verify(engine: Api, kind: str) -> None:
    port, tenant = find_free_port(), engine.create_tenant()
    secret = endpoint(tenant, port)
    command = {
        "wsgi": (sys.executable, "-c", WSGI.format(port=port)),
        "asgi": (sys.executable, "-m", "uvicorn", "receiver_asgi:application", "--port", str(port)),
    }
    paths = os.pathsep.join([str(ROOT), str(ROOT / "docs" / "examples")])
    with running(*command[kind], port=port, SECRET=secret, PYTHONPATH=paths) as receiver:
        (event,) = publish_events(tenant, 1)
        wait_for_success(tenant, 1)
        code, _ = forged(port)
        assert receiver.stdout is not None
        said = receiver.stdout.readline()
        while not said.startswith("verified"):
            said = receiver.stdout.readline()
    assert (said, code) == (f"verified {event}\n", 400)
