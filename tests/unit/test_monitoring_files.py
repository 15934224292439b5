"""Alerts and dashboards in `deploy/`: promtool reads the one, the rules of this page hold the other."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support.deployment_files import DEPLOY, load_compose
from tests.support.monitoring_files import (
    DASHBOARDS,
    GRAFANA,
    PROMETHEUS,
    Panel,
    find_metric_names,
    find_program,
    iter_panels,
    load_rules,
)
from tests.support.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PANELS = [pytest.param(panel, id=f"{panel.dashboard}: {panel.title}") for panel in iter_panels()]
ALERTS = [rule for rule in load_rules() if "alert" in rule]


def promtool(*words: object) -> tuple[int, str]:
    said = subprocess.run(
        [find_program("promtool"), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROMETHEUS,
    )
    return said.returncode, said.stdout + said.stderr


# ---- Prometheus


@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=lambda words: f"{words[0]} {words[1]}",
)
def test_promtool_accepts_the_rules(words: tuple[str, ...]) -> None:
    code, said = promtool(*words)
    assert code == 0, said


def test_promtool_would_tell_of_an_alert_that_stays_silent(tmp_path: Path) -> None:
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())
    cases["tests"] = [case for case in cases["tests"] if "WaybillBrokerUnreachable" in str(case)]
    (tmp_path / "alerts_test.yml").write_text(yaml.safe_dump(cases))
    text = (PROMETHEUS / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(text.replace('{on="broker"}) == 0', '{on="broker"}) == 2'))
    code, said = promtool("test", "rules", tmp_path / "alerts_test.yml")
    assert code != 0
    assert set(re.findall(r"alertname: (\w+)", said)) == {"WaybillBrokerUnreachable"}


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    tried = [one for test in tests for one in test["alert_rule_test"]]
    for alert in ALERTS:
        of_it = [one for one in tried if one["alertname"] == alert["alert"]]
        labels = [fired["exp_labels"] for one in of_it for fired in one["exp_alerts"]]
        assert alert["labels"] in labels, alert["alert"]
        assert any(
            alert["labels"] not in [fired["exp_labels"] for fired in one["exp_alerts"]] for one in of_it
        )


def test_every_alert_says_what_it_is_how_bad_it_is_and_what_to_do() -> None:
    for alert in ALERTS:
        name = alert["alert"]
        assert alert["labels"]["severity"] in {"critical", "warning"}, name
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}, name
        assert alert["annotations"]["runbook_url"] == f"docs/operate.md#{name.lower()}"


# ---- Grafana


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_a_title_a_unit_and_a_description(panel: Panel) -> None:
    assert panel.title
    assert panel.spec["description"].endswith(".")
    assert panel.spec["fieldConfig"]["defaults"]["unit"]
    assert panel.promql


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_reads_from_the_source_that_is_provisioned(path: Path) -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    text = path.read_text()
    assert set(re.findall(r'"type": "prometheus",\s+"uid": "([^"]*)"', text)) == {source["uid"]}
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert load_compose()["services"][host]["ports"] == [f"127.0.0.1:{port}:{port}"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_panels_of_a_dashboard_have_each_their_own_place(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == f"waybill-{path.stem}"
    assert dashboard["id"] is None
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    cells = Counter(
        (x, y)
        for at in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24


def test_what_compose_mounts_is_there_and_grafana_looks_where_it_is_mounted() -> None:
    mounted = {
        inside: DEPLOY / outside
        for service in ("prometheus", "grafana")
        for outside, inside in (
            volume.split(":")[:2] for volume in load_compose()["services"][service]["volumes"]
        )
        if outside.startswith("./")
    }
    assert all(path.is_dir() for path in mounted.values())
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/waybill.yaml").read_text())["providers"]
    assert mounted[provider["options"]["path"]] == GRAFANA / "dashboards"
    assert {path.stem for path in DASHBOARDS} == {"overview", "endpoints", "workers", "database-and-broker"}


# ---- both


def test_every_metric_that_they_speak_of_is_kept() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    kept = set(re.findall(r"(?m)^\| `(waybill_\w+)` \|", page))
    recorded = {rule["record"] for rule in load_rules() if "record" in rule}
    spoken = [query for panel in iter_panels() for query in panel.promql] + [
        rule["expr"] for rule in load_rules()
    ]
    named = {name for query in spoken for name in find_metric_names(query)}
    assert len(named) > 20
    assert named - kept - recorded == set()
