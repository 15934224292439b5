"""A command imports what it needs: the root knows the others by name only."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from workers.commands.app import COMMANDS

if TYPE_CHECKING:
    from delivery.cli.app import LazyCommand

HEAVY = (
    "alembic",
    "aiohttp",
    "argon2",
    "cryptography",
    "dramatiq",
    "fastapi",
    "httpx",
    "jinja2",
    "jsonschema_rs",
    "prometheus_client",
    "pydantic",
    "rich.console",
    "structlog",
    "uvloop",
)
PROGRAM = """
import sys
from workers.main import main
try:
    main({arguments!r})
except SystemExit:
    pass
print(*sorted(sys.modules))
"""


def run(*arguments: str) -> tuple[str, set[str]]:
    """A command's output, and the modules that it imported."""
    program = PROGRAM.format(arguments=list(arguments))
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *printed, modules = ran.stdout.splitlines()
    return "\n".join(printed), set(modules.split())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_line_about_a_command_is_the_first_of_its_own_help(command: LazyCommand) -> None:
    loaded = command.load()
    assert loaded.name == command.name
    assert inspect.cleandoc(loaded.help or "").splitlines()[0] == command.help


def test_the_version_is_printed_without_the_command_line() -> None:
    printed, modules = run("--version")
    assert printed.startswith("waybill ")
    assert "typer" not in modules


def test_help_imports_no_command() -> None:
    printed, modules = run("--help")
    assert "Usage: waybill" in printed
    assert [name for name in modules if name.startswith("delivery.cli.commands.")] == []
    assert "asyncio" not in modules


@pytest.mark.parametrize(
    "arguments", [("endpoint", "list", "--help"), ("event", "send", "--help")], ids="-".join
)
def test_a_command_imports_nothing_heavy_that_it_does_not_use(arguments: tuple[str, ...]) -> None:
    printed, modules = run(*arguments)
    assert "Usage: waybill" in printed
    assert [name for name in HEAVY if name in modules] == []
