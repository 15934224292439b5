"""What watches the engine in `deploy/`, as Prometheus and Grafana read it: alerts, panels, their queries."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.support.deployment_files import DEPLOY

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMETHEUS: Final = DEPLOY / "prometheus"
GRAFANA: Final = DEPLOY / "grafana"
DASHBOARDS: Final = sorted((GRAFANA / "dashboards").glob("*.json"))
# Names of ours, those that rules record among them; what histograms add to theirs is left off.
_NAME: Final = re.compile(r"\bwaybill[a-z_:0-9]*[a-z0-9]")
_HISTOGRAM_SUFFIX: Final = re.compile(r"_(bucket|sum|count)\Z")


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of a dashboard, with its queries as they stand there."""

    dashboard: str
    title: str
    spec: Any

    @property
    def promql(self) -> tuple[str, ...]:
        """In PromQL, with Grafana's variables."""
        return tuple(target["expr"] for target in self.spec["targets"])


def find_program(name: str) -> str:
    """The path of `prometheus` or `promtool`."""
    found = shutil.which(name)
    assert found is not None, "Debian's prometheus is not installed: `make prometheus`"
    return found


def load_rules() -> list[Any]:
    """Every rule of alerts.yml, those that record and those that alert."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def iter_panels() -> Iterator[Panel]:
    """Every panel of every dashboard."""
    for path in DASHBOARDS:
        for spec in json.loads(path.read_text())["panels"]:
            yield Panel(path.stem, spec["title"], spec)


def substitute_variables(query: str, **values: str) -> str:
    """A query with Grafana's variables filled in; raises KeyError for one that has no value here."""
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], query)


def find_metric_names(query: str) -> set[str]:
    """The metrics that a query speaks of, as the page about them names them."""
    return {_HISTOGRAM_SUFFIX.sub("", name) for name in _NAME.findall(query)}
