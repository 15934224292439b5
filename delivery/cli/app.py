"""The root of the command line, and commands whose modules are imported only when they run.

A start would otherwise spend most of its time on importing what the other commands need. So the root knows
of each command its name, the line about it in `--help`, and where it is; `LazyCommand` loads it to run it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from delivery.cli.conversion import convert_own_values, convert_plain_values
from delivery.cli.options.examples import format_examples
from delivery.cli.version import print_version

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXAMPLES = format_examples(
    'waybill tenant create "Acme Books"',
    "export WAYBILL_TENANT=ten_…",
    "waybill endpoint create https://shop.example/hooks",
    """waybill event send --type order.created --data '{"order": 1042}'""",
    "waybill delivery list",
)


class LazyCommand(TyperCommand):
    """A command or a group of commands, under its name, that is imported when it runs."""

    def __init__(self, name: str, module: str, help_line: str, *, attribute: str = "app") -> None:
        """Know where the Typer application of the command is: `attribute` of `module`."""
        super().__init__(name, help=help_line)
        self._module = module
        self._attribute = attribute

    def load(self) -> TyperCommand | TyperGroup:
        """Import the command."""
        parent = _create_typer()
        parent.add_typer(getattr(import_module(self._module), self._attribute))
        group = get_command(parent)
        assert isinstance(group, TyperGroup)  # noqa: S101  an application to which another was added
        command = group.commands[str(self.name)]
        assert isinstance(command, TyperCommand | TyperGroup)  # noqa: S101  the only kinds that Typer makes
        convert_plain_values(command)
        return command

    def make_context(self, *arguments: Any, **options: Any) -> typer.Context:
        """Parse the command line with the command itself, which runs from here on."""
        return self.load().make_context(*arguments, **options)  # type: ignore[return-value]


def create_app(commands: Sequence[LazyCommand]) -> typer.Typer:
    """The command line of these commands, in their order."""

    class Root(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes | {"commands": commands})
            convert_own_values(self)

    app = _create_typer(cls=Root, no_args_is_help=True)
    app.callback(epilog=_EXAMPLES)(_root)
    return app


def _create_typer(**attributes: Any) -> typer.Typer:
    # Plain help and one-line errors: they read the same in a terminal, a log and a pipe.
    return typer.Typer(
        rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False, **attributes
    )


def _print_version(requested: bool) -> None:
    if requested:
        print_version()
        raise typer.Exit


def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Waybill: webhooks that arrive.

    Commands work on the ledger of WAYBILL_DATABASE_URL or, where that is not set, on the engine that
    `make up` (`waybill dev`) runs in this folder.

    Exit codes: 0 done, 1 refused, 2 usage or settings, 3 the ledger does not answer.
    """
