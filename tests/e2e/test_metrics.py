"""The metrics of the Procfile's processes: they parse, and move as they should when deliveries do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from time import time
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.api import Api
from tests.support.scenario import TIMEOUT_SECONDS, publish_events, subscribe, wait_for_success
from tests.support.stack import OPERATOR_KEY, find_free_port, is_listening, wait_until
from tests.support.webhook_partner import CannedResponse, Partner, ReceivedCall

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import Stack

KINDS = ("web", "relay", "worker")


def read(port: int, key: str = "") -> dict[str, float]:
    """Every sample of a process by its name and label: `waybill_attempts_total.delivered`."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with urlopen(Request(f"http://127.0.0.1:{port}/metrics", headers=headers), timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=")
        text = answer.read().decode()
    return {
        ".".join([sample.name, *(value for name, value in sample.labels.items())]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def ports(module_stack: Stack) -> dict[str, int]:
    """A web, a relay and a worker of two processes with ports for their metrics."""
    stack = module_stack
    ports = {kind: find_free_port() for kind in KINDS}
    stack.environment |= {f"WAYBILL_{kind.upper()}_METRICS_PORT": str(port) for kind, port in ports.items()}
    # A killed worker's folder is removed with the test's.
    stack.environment |= {"WAYBILL_WORKER_PROCESSES": "2", "TMPDIR": str(stack.folder)}
    stack.environment["WAYBILL_ATTEMPT_TIMEOUT"] = "25"
    stack.serve(*KINDS)
    for port in ports.values():
        wait_until(partial(is_listening, port), f"metrics on {port}", seconds=TIMEOUT_SECONDS)
    return ports


@pytest.fixture
def operator(module_stack: Stack) -> Api:
    """The operator of the engine whose metrics have ports."""
    return Api(f"http://127.0.0.1:{module_stack.port}", OPERATOR_KEY)


def has_pool(port: int) -> bool:
    told = read(port)
    return told["waybill_pool_connections.idle"] + told["waybill_pool_connections.used"] >= 1


def listener(worker: int, port: int) -> int:
    """Which of a worker's processes has the port."""
    for process in psutil.Process(worker).children(recursive=True):
        if any(
            one.status == psutil.CONN_LISTEN and one.laddr[1] == port for one in process.net_connections()
        ):
            return int(process.pid)
    raise LookupError(port)


def test_metrics_follow_deliveries(operator: Api, ports: dict[str, int]) -> None:
    refused_once: set[str] = set()

    def once_unwell(call: ReceivedCall) -> CannedResponse:
        if call.message_id in refused_once:
            return CannedResponse(200)
        refused_once.add(call.message_id)
        return CannedResponse(503)

    with Partner() as well, Partner(once_unwell) as ill:
        tenant = operator.create_tenant()
        subscribe(tenant, well)
        subscribe(tenant, ill, breaker={"consecutive_failures": 1_000, "minimum_requests": 1_000})
        publish_events(tenant, 20)
        wait_for_success(tenant, 40)

        def recorded() -> bool:
            return read(ports["worker"])["waybill_deliveries_ended_total.succeeded"] == 40

        wait_until(recorded, "what both processes of the worker have counted", seconds=TIMEOUT_SECONDS)
    web, relay, worker = (read(ports[kind]) for kind in KINDS)
    assert (web["waybill_events_accepted_total"], web["waybill_deliveries_owed_total"]) == (20, 40)
    assert web["waybill_commit_rows_sum.accept"] == 20
    assert worker["waybill_attempts_total.delivered"] == 40
    assert worker["waybill_attempts_total.refused"] == 20
    assert worker["waybill_commit_rows_sum.record"] == 60
    assert worker["waybill_phase_seconds_count.send"] == 60
    assert worker["waybill_delivery_seconds_count"] == 40
    assert relay["waybill_deliveries_claimed_total.live"] == 60
    assert relay["waybill_claims_published_total.live"] >= 2
    assert relay["waybill_dependency_up.database"] == relay["waybill_dependency_up.broker"] == 1
    wait_until(
        lambda: read(ports["relay"])["waybill_partitions_ahead_days"] >= 1,
        "the relay to look again, after it has made partitions",
        seconds=TIMEOUT_SECONDS,
    )
    assert relay["waybill_relay_looked_timestamp_seconds"] > 1_700_000_000
    for port in ports.values():
        wait_until(partial(has_pool, port), "the pool, looked at now and then", seconds=TIMEOUT_SECONDS)
    for phase, told in {
        "accept": web,
        "claim": relay,
        "publish": relay,
        "start": worker,
        "record": worker,
    }.items():
        assert told[f"waybill_phase_seconds_count.{phase}"] >= 1
    assert "waybill_dependency_up.database" not in web | worker


def test_in_flight_gauge_returns_to_zero(operator: Api, ports: dict[str, int]) -> None:
    answer = threading.Event()

    def slow(_call: ReceivedCall) -> CannedResponse:
        answer.wait(TIMEOUT_SECONDS)
        return CannedResponse(200)

    def on_their_way() -> float:
        return read(ports["worker"])["waybill_requests_in_flight"]

    with Partner(slow) as partner:
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        try:
            publish_events(tenant, 1)
            wait_until(lambda: on_their_way() == 1, "a request on its way", seconds=TIMEOUT_SECONDS)
        finally:
            answer.set()
        wait_for_success(tenant, 1)
        wait_until(lambda: on_their_way() == 0, "none on its way", seconds=TIMEOUT_SECONDS)


def test_stale_shared_metric_folders_are_removed(stack: Stack) -> None:
    stack.environment |= {
        "TMPDIR": str(stack.folder),
        "WAYBILL_WORKER_METRICS_PORT": str(find_free_port()),
        "WAYBILL_WORKER_PROCESSES": "2",
    }
    left = stack.folder / "waybill-metrics-4194305-x"  # beyond every process id of Linux
    left.mkdir()
    stack.serve("worker")
    wait_until(
        lambda: stack.read_log("worker").count("worker.ready") == 2,
        "both of its processes",
        seconds=TIMEOUT_SECONDS,
    )
    assert not left.exists()
    (folder,) = stack.folder.glob(f"waybill-metrics-{stack.get_pid('worker')}-*")
    assert any(folder.iterdir())
    stack.stop("worker")
    wait_until(lambda: not folder.exists(), "the folder to be taken away", seconds=TIMEOUT_SECONDS)


def test_backlog_and_hold_gauges_are_exported(operator: Api, ports: dict[str, int]) -> None:
    with Partner() as partner:
        tenant = operator.create_tenant()
        endpoint = subscribe(tenant, partner)
        tenant.post(f"/v1/endpoints/{endpoint}/pause", {})
        publish_events(tenant, 7)

        def is_reported() -> bool:
            return read(ports["relay"])["waybill_held_deliveries.paused"] == 7

        wait_until(is_reported, "the held deliveries", seconds=TIMEOUT_SECONDS)
    assert read(ports["relay"])["waybill_oldest_due_seconds.live"] == 0


def test_a_worker_process_that_dies_leaves_its_counts_and_the_port_to_another(
    module_stack: Stack, operator: Api, ports: dict[str, int]
) -> None:
    counted = "waybill_attempts_total.delivered"
    before = read(ports["worker"])[counted]
    with Partner() as partner:
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        publish_events(tenant, 10)
        wait_for_success(tenant, 10)
        wait_until(
            lambda: read(ports["worker"])[counted] == before + 10, "the counts", seconds=TIMEOUT_SECONDS
        )
        owner = listener(module_stack.get_pid("worker"), ports["worker"])
        os.kill(owner, signal.SIGKILL)

        def another() -> bool:
            try:
                return read(ports["worker"])[counted] == before + 10
            except OSError:
                return False

        wait_until(another, "the other process to have the port", seconds=TIMEOUT_SECONDS)


LEAVING = """
import os, pathlib
folder = pathlib.Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
from delivery.telemetry import metrics
from delivery.telemetry.metrics.prometheus import clean_up_process
metrics.count_rescued(3)
clean_up_process()
"""


def test_what_a_worker_process_counted_stays_until_its_last_sibling_ends(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    sibling = folder / f"gauge_livesum_{os.getpid()}.db"
    sibling.touch()
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    leaving = [sys.executable, "-c", LEAVING]
    subprocess.run(leaving, env=environment, check=True)
    assert any(folder.glob("counter_*.db"))
    assert list(folder.glob("gauge_live*.db")) == [sibling]
    sibling.unlink()
    subprocess.run(leaving, env=environment, check=True)
    assert not folder.exists()


def test_metrics_on_the_api_port_need_the_operator_key(
    module_stack: Stack, operator: Api, ports: dict[str, int]
) -> None:
    stack, tenant = module_stack, operator.create_tenant()
    accepted = "waybill_events_accepted_total"
    assert read(stack.port, OPERATOR_KEY)[accepted] == read(ports["web"])[accepted]
    for key, status in ((tenant.key, 403), ("", 401)):
        with pytest.raises(HTTPError) as refused:
            read(stack.port, key)
        refused.value.close()
        assert refused.value.code == status


def test_statsd_receives_counter_increments(stack: Stack) -> None:
    operator = Api(f"http://127.0.0.1:{stack.port}", OPERATOR_KEY)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd, Partner() as partner:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(TIMEOUT_SECONDS)
        stack.environment["WAYBILL_STATSD"] = f"127.0.0.1:{statsd.getsockname()[1]}"
        stack.serve(*KINDS)
        began = int(time())
        # Published earlier, it may be claimed twice: a claim that no worker starts lapses.
        wait_until(lambda: "worker.ready" in stack.read_log("worker"), "the worker", seconds=TIMEOUT_SECONDS)
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        publish_events(tenant, 5)
        wait_for_success(tenant, 5)
        stack.stop(*KINDS)  # each sends what is left
        lines: list[str] = []
        statsd.settimeout(0)
        while True:
            try:
                lines += statsd.recv(65_536).decode().split("\n")
            except BlockingIOError:
                break
    counted: dict[str, float] = {}
    stands: dict[str, set[float]] = {}
    for line in lines:
        name, value, kind = line.replace("|", ":").split(":")
        assert kind in {"c", "g"}
        if kind == "c":
            counted[name] = counted.get(name, 0) + float(value)
        else:
            stands.setdefault(name, set()).add(float(value))
    assert counted["waybill_events_accepted_total"] == 5
    assert counted["waybill_attempts_total.delivered"] == 5
    assert any(began <= one <= time() for one in stands["waybill_relay_looked_timestamp_seconds"])
    assert counted["waybill_deliveries_claimed_total.live"] == 5
    # A relay's to say: what the others never learned would go over what it said.
    assert stands["waybill_dependency_up.database"] == {1}
