"""The runbook names commands, settings and files that exist, and has a section for every alert."""

from __future__ import annotations

import re
import shlex
from typing import Final

import pytest
from typer.testing import CliRunner

from tests.support.deployment_files import SETTING_NAMES
from tests.support.monitoring_files import load_rules
from tests.support.stack import ROOT
from workers.commands.app import app

PAGE = ROOT / "docs" / "operate.md"
TEXT = PAGE.read_text()
RUNNER = CliRunner()
ALERTS: Final = sorted({rule["alert"] for rule in load_rules() if "alert" in rule})
# In a line of a console, or between backticks within a sentence.
_COMMAND = re.compile(r"(?m)(?:^\$ |`)(waybill [^`#\n]+)")


def commands() -> list[str]:
    return sorted({" ".join(found.split()) for found in _COMMAND.findall(TEXT)})


def section(title: str) -> str:
    """What stands under a heading, up to the next of its rank."""
    found = re.search(rf"(?ms)^### {title}$(.*?)(?=^##)", TEXT)
    assert found is not None, title
    return found[1]


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 15


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_page_exists_and_knows_its_options(command: str) -> None:
    _, *words = shlex.split(command)
    named = [word for word in words if word.startswith("--")]
    path = []
    for word in words:
        if word.startswith("-") or "…" in word or "/" in word:
            break
        path.append(word)
    told = RUNNER.invoke(app, [*path, "--help"])
    assert told.exit_code == 0, told.stderr
    assert [option for option in named if option not in told.stdout] == []


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_its_section_with_what_it_means_and_what_to_do(alert: str) -> None:
    told = section(alert)
    assert "**It means**" in told
    assert _COMMAND.search(told) or "```console" in told or "**Look at**" in told
    assert "what to do" in told or "**Do**" in told or _COMMAND.search(told)


def test_every_alert_section_names_an_existing_alert() -> None:
    assert set(re.findall(r"(?m)^### (\w+)$", TEXT)) == set(ALERTS)


def test_every_setting_that_it_names_exists() -> None:
    assert set(re.findall(r"WAYBILL_[A-Z_]+[A-Z]", TEXT)) - SETTING_NAMES == set()


def test_every_file_and_heading_that_it_leads_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        file, _, heading = target.partition("#")
        page = (PAGE.parent / file).resolve() if file else PAGE
        assert page.exists(), target
        if heading:
            assert heading in {anchor(title) for title in re.findall(r"(?m)^#+ (.+)$", page.read_text())}, (
                target
            )
    for path in re.findall(r"`((?:tests|deploy)/[\w./-]+)`", TEXT):
        assert (ROOT / path).exists(), path


def anchor(title: str) -> str:
    """How GitHub names a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
