"""The command line's help and usage errors, without a ledger."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from delivery.cli.app import LazyCommand
from delivery.cli.runtime import EXIT_UNAVAILABLE, EXIT_USAGE, find_settings, report_error
from delivery.domain.errors import Misconfigured, Unavailable
from delivery.domain.secret_box import generate_key
from delivery.embedded.state_dir import StateDir
from workers.commands.app import COMMANDS, app
from workers.main import main

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

RUNNER = CliRunner()
TENANT = "ten_01m82bjx09e96bahvpn78mz28c"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings, and no engine in this folder."""
    for name in [name for name in os.environ if name.startswith("WAYBILL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_version_is_the_packages() -> None:
    assert RUNNER.invoke(app, ["--version"]).stdout == f"waybill {version('waybill-engine')}\n"


def list_commands(commands: Iterable[TyperCommand], *before: str) -> Iterator[str]:
    """Every command that can be run, under its whole name."""
    for command in commands:
        loaded = command.load() if isinstance(command, LazyCommand) else command
        if isinstance(loaded, TyperGroup):
            yield from list_commands(
                cast("Iterable[TyperCommand]", loaded.commands.values()), *before, str(loaded.name)
            )
        else:
            yield " ".join([*before, str(loaded.name)])


@pytest.mark.parametrize("command", list(list_commands(COMMANDS)))
def test_every_command_explains_itself_within_eighty_columns(command: str) -> None:
    output = RUNNER.invoke(app, [*command.split(), "--help"])
    assert output.exit_code == 0
    assert output.stdout.startswith("Usage: ")
    described = output.stdout.split("Examples:")[0]
    assert max(map(len, described.splitlines())) <= 80


def test_serve_alone_tells_how() -> None:
    output = RUNNER.invoke(app, ["serve"])
    assert output.exit_code == 0
    assert "waybill serve relay" in output.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["key", "list"], "--tenant"),
        (["event", "list", "--tenant", "acme"], "'acme' is not an id of the form ten_…"),
        (["endpoint", "show", "--tenant", TENANT, TENANT], "is not an id of the form ep_…"),
        (["delivery", "list", "--tenant", TENANT, "--status", "lost"], "--status"),
        (["delivery", "list", "--tenant", TENANT, "--limit", "0"], "--limit"),
        (["tenant", "rename"], "rename"),
    ],
)
def test_wrong_words_are_usage_errors_in_one_sentence(arguments: list[str], said: str) -> None:
    refused = RUNNER.invoke(app, arguments)
    assert refused.exit_code == EXIT_USAGE
    assert said in refused.stderr
    assert refused.stdout == ""


def test_without_a_ledger_one_sentence_names_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tenant", "list"]) == EXIT_USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert "make up" in line
    assert "WAYBILL_DATABASE_URL" in line


def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAYBILL_PORT", "many")
    assert main(["dev"]) == EXIT_USAGE
    assert "WAYBILL_PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://db/waybill"),
        ("DATABASE_URL", "postgresql://[::1/waybill"),
        ("AMQP_URL", "http://mq"),
        ("AMQP_URL", "amqp://"),
        ("AMQP_URL", "amqp://mq:many"),
        ("OPERATOR_KEY", "short"),
        ("ALLOW_PORTS", "99999"),
        ("ALLOW_PORTS", "-1"),
        ("ALLOW_NETWORKS", "here"),
        ("RETRY_SCHEDULE", "a,b"),
        ("LEASE_SECONDS", "inf"),
        ("WINDOW_SECONDS", "1e300"),
        ("IDEMPOTENCY_HOURS", "inf"),
        ("KEY_REQUESTS_PER_SECOND", "-1"),
        ("KEY_REQUESTS_PER_SECOND", "1.5"),
        ("QUEUE_NAME", "q" * 300),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"DATABASE_URL": "postgresql://db/waybill", "AMQP_URL": "amqp://mq", "SECRET_KEYS": generate_key()}
    for setting, given in (good | {name: value}).items():
        monkeypatch.setenv(f"WAYBILL_{setting}", given)
    assert main(["serve", "worker"]) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"waybill: WAYBILL_{name}")


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(Misconfigured, match="taken cannot be used: File exists"):
        StateDir(tmp_path / "taken").prepare_keys()


@pytest.mark.parametrize("process", ["web", "relay", "worker", "ingest"])
def test_a_process_without_its_settings_does_not_start(
    process: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", process]) == EXIT_USAGE
    assert "WAYBILL_DATABASE_URL is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--database", "mysql://db/shop"], "--database must begin with postgresql://"),
        (["list", "--database", "postgresql://[::1/shop"], "--database cannot be read"),
        (["retry", "--database", "postgresql://db/shop"], "Name the rows to send again, or --all."),
        (["retry", "1", "--all", "--database", "postgresql://db/shop"], "Name the rows to send again"),
        (["discard", "--database", "postgresql://db/shop"], "Name the rows to delete."),
    ],
)
def test_wrong_words_about_an_outbox_are_told_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outbox", *arguments]) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_running_engine_of_this_folder_is_found(tmp_path: Path) -> None:
    home = StateDir(tmp_path / ".waybill")
    home.prepare_keys()
    home.write_running_settings(
        {"database_url": "postgresql://here/waybill", "secret_keys": generate_key(), "url": "http://x"}
    )
    found = find_settings()
    assert found.database_url is not None
    assert found.database_url.text == "postgresql://here/waybill"
    assert found.secret_keys is not None
    home.remove_running_settings()
    with pytest.raises(Misconfigured):
        find_settings()


def test_the_environment_comes_before_the_engine_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = StateDir(tmp_path / ".waybill")
    home.prepare_keys()
    home.write_running_settings({"database_url": "postgresql://here/waybill", "secret_keys": "theirs"})
    monkeypatch.setenv("WAYBILL_DATABASE_URL", "postgresql://elsewhere/waybill")
    found = find_settings()
    assert found.database_url is not None
    assert found.database_url.text == "postgresql://elsewhere/waybill"
    assert found.secret_keys is None


def test_a_fresh_encryption_key_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["secrets", "generate-key"])
    printed = capsys.readouterr().out
    assert len(printed) == 45
    assert printed.endswith("=\n")


def test_without_keys_there_is_nothing_to_rotate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAYBILL_DATABASE_URL", "postgresql://db/waybill")
    assert main(["secrets", "rotate-key"]) == EXIT_USAGE
    assert "WAYBILL_SECRET_KEYS is not set" in capsys.readouterr().err


def test_an_unavailable_ledger_has_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(Unavailable("The ledger does not answer.")) == EXIT_UNAVAILABLE
    assert capsys.readouterr().err == "waybill: The ledger does not answer.\n"
