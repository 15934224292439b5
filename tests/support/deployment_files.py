"""The files of `deploy/`, read as those read them that run them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from delivery.config import list_settings
from tests.support.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
# Not part of what `kubectl apply --kustomize` sends: the upgrade comes before it, ingest where it is wanted.
EXTRA_MANIFESTS = ("ingest.yaml", "upgrade.yaml")
SETTING_NAMES = {info.variable for info in list_settings()}


def parse_instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their words, lines that go on joined and comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (name.upper(), words.strip())
        for name, _, words in (line.partition(" ") for line in whole.splitlines())
    ]


def get_health_command() -> list[str]:
    """The words of the image's HEALTHCHECK command."""
    [words] = [words for name, words in parse_instructions(DOCKERFILE.read_text()) if name == "HEALTHCHECK"]
    return [str(word) for word in json.loads(words.partition("CMD ")[2])]


def load_compose() -> Any:
    """compose.yaml with its anchors and merges resolved, and its variables as they are written."""
    return yaml.safe_load(COMPOSE.read_text())


def load_resources() -> list[Any]:
    """Everything that goes to Kubernetes: what `kubectl apply --kustomize` would send, and what is BESIDE."""
    kubectl = shutil.which("kubectl")
    if kubectl is not None:
        built = subprocess.run([kubectl, "kustomize", KUBERNETES], capture_output=True, text=True, check=True)
        sent = list(yaml.safe_load_all(built.stdout))
    else:
        names = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
        sent = [one for name in names for one in yaml.safe_load_all((KUBERNETES / name).read_text())]
    return [
        *sent,
        *(one for name in EXTRA_MANIFESTS for one in yaml.safe_load_all((KUBERNETES / name).read_text())),
    ]


def load_resources_of_kind(*kinds: str) -> list[Any]:
    """The resources of these kinds."""
    return [one for one in load_resources() if one["kind"] in kinds]


def iter_pods() -> Iterator[tuple[str, Any]]:
    """The component and the pod's own description, of everything that runs."""
    for one in load_resources_of_kind("Deployment", "Job"):
        template = one["spec"]["template"]
        yield template["metadata"]["labels"]["app.kubernetes.io/component"], template["spec"]
