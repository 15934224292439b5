"""A real Prometheus beside an engine at work: every panel shows something, every rule looks at something."""

from __future__ import annotations

import json
import math
import re
import shutil
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.support.monitoring_files import (
    PROMETHEUS,
    find_program,
    iter_panels,
    load_rules,
    substitute_variables,
)
from tests.support.scenario import (
    TIMEOUT_SECONDS,
    count_statuses,
    publish_events,
    subscribe,
    wait_for_success,
)
from tests.support.stack import find_free_port, wait_until
from tests.support.webhook_partner import CannedResponse, Partner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api import Api
    from tests.support.stack import Stack

PROCESSES = ("web", "relay", "worker", "ingest")
EVENTS = 60
# What Grafana puts in.
VALUES = {"__rate_interval": "2m", "instance": ".*"}
_SELECTOR = re.compile(r"\bwaybill[a-z0-9_:]+(?:\{[^}]*\})?")


class Prometheus:
    """The compose file's Prometheus; it finds the processes on loopback, not by their services' names."""

    def __init__(self, stack: Stack) -> None:
        """Nothing runs yet; the processes get their ports by settings."""
        self._stack = stack
        self._port = find_free_port()
        self._ports = {name: find_free_port() for name in PROCESSES}
        stack.environment |= {
            f"WAYBILL_{name.upper()}_METRICS_PORT": str(port) for name, port in self._ports.items()
        }

    def start(self) -> None:
        """Run with the rules of `deploy/`, and look each second."""
        shutil.copy(PROMETHEUS / "alerts.yml", self._stack.folder)
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for scraped in config["scrape_configs"]:
            del scraped["dns_sd_configs"]
            scraped["static_configs"] = [{"targets": [f"127.0.0.1:{self._ports[scraped['job_name']]}"]}]
        path = self._stack.folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        self._stack.start(
            "prometheus",
            find_program("prometheus"),
            f"--config.file={path}",
            f"--storage.tsdb.path={self._stack.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        )

    def ask(self, path: str, **words: str) -> Any:
        """What its HTTP API answers."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urlencode(words)}"
        with urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def values(self, query: str) -> list[float]:
        """The values that a query has now, without those that are no number."""
        found = [float(one["value"][1]) for one in self.ask("query", query=query)["result"]]
        return [value for value in found if not math.isnan(value)]

    def sees_all(self) -> bool:
        """Whether it has read every process, and a relay has said how the ledger stands."""
        try:
            return self.values("sum(up)") == [len(PROCESSES)] and self.values(
                "sum(waybill_dependency_up)"
            ) == [2]
        except OSError:
            return False

    def list_active_alerts(self) -> list[str]:
        """The alerts that are pending or firing."""
        return [rule["name"] for rule in self.rules() if rule.get("state", "inactive") != "inactive"]

    def rules(self) -> list[Any]:
        """Its rules, with how they fare."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


@pytest.fixture
def prometheus(stack: Stack, operator: Api) -> Iterator[Prometheus]:
    """It has seen the engine idle, and then at work: one receiver is well, one refuses."""
    prometheus = Prometheus(stack)
    stack.serve(*PROCESSES)
    prometheus.start()
    wait_until(prometheus.sees_all, "Prometheus to see every process", seconds=TIMEOUT_SECONDS)
    with Partner() as well, Partner(lambda _call: CannedResponse(503)) as ill:
        tenant, other = operator.create_tenant(), operator.create_tenant()
        tenant_id = operator.list_all("/v1/tenants")[0]["id"]
        operator.post(f"/v1/tenants/{tenant_id}/keys", {"name": "ends", "expires_in_seconds": 30 * 86_400})
        subscribe(tenant, well)
        subscribe(other, ill, breaker={"consecutive_failures": 3})
        publish_events(tenant, EVENTS)
        publish_events(other, 6)
        wait_for_success(tenant, EVENTS)
        assert count_statuses(other)["succeeded"] == 0
        yield prometheus
    stack.stop()


def test_every_panel_shows_something_and_every_rule_looks_at_something(prometheus: Prometheus) -> None:
    shown = 'sum(waybill_attempts_total{job="worker", outcome="delivered"})'
    wait_until(lambda: prometheus.values(shown) == [EVENTS], "what was delivered", seconds=TIMEOUT_SECONDS)
    opened = 'sum(waybill_breaker_transitions_total{to="open"}) > 0'
    wait_until(lambda: bool(prometheus.values(opened)), "a breaker that opened", seconds=TIMEOUT_SECONDS)
    expiry = 'waybill_next_expiry_timestamp_seconds{what="api_key"} > 0'
    wait_until(lambda: bool(prometheus.values(expiry)), "the key that ends", seconds=TIMEOUT_SECONDS)

    asked = {
        f"{panel.dashboard}: {panel.title}: {query}": prometheus.values(substitute_variables(query, **VALUES))
        for panel in iter_panels()
        for query in panel.promql
    }
    assert len(asked) > 40
    assert [query for query, values in asked.items() if not values] == []
    [failing] = (values for query, values in asked.items() if query.startswith("endpoints: Failed attempts:"))
    assert 0 < failing[0] < 1

    wait_until(
        lambda: {rule["health"] for rule in prometheus.rules()} == {"ok"},
        "every rule to be evaluated",
        seconds=TIMEOUT_SECONDS,
    )
    assert len(prometheus.rules()) == len(load_rules())
    looked_at = {selector for rule in load_rules() for selector in _SELECTOR.findall(rule["expr"])}
    assert len(looked_at) > 10
    assert [one for one in sorted(looked_at) if not prometheus.ask("query", query=one)["result"]] == []
    # A healthy engine raises no alert, though one receiver fails. The first gauges may be read before the
    # relay has created the partitions of the coming days.
    wait_until(lambda: prometheus.list_active_alerts() == [], "no active alert", seconds=TIMEOUT_SECONDS)
