"""Converts the values of options without pydantic, which Typer would import to run any command.

Typer keeps a converter with each parameter; ours takes its place. It converts plain values (none, a text, a
text for a parser of ours, a default) and leaves every other value, and every error, to Typer.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args

from typer import Context
from typer.core import TyperArgument, TyperGroup, TyperOption

if TYPE_CHECKING:
    from typer.core import TyperCommand


def convert_plain_values(command: TyperCommand | TyperGroup) -> None:
    """Give the parameters of a command, and of all commands of a group, our converter."""
    convert_own_values(command)
    if isinstance(command, TyperGroup):
        for child in command.commands.values():
            convert_plain_values(child)  # type: ignore[arg-type]  # of one of these kinds: Typer makes no other


def convert_own_values(command: TyperCommand | TyperGroup) -> None:
    """Give the parameters of a command, `--help` among them, our converter."""
    for parameter in command.get_params(Context(command)):
        if isinstance(parameter, TyperOption | TyperArgument):
            # A release of Typer that does not look here converts everything itself: slower, with one result.
            parameter._runtime_param = _Converter(parameter)  # type: ignore[assignment]  # noqa: SLF001  no other way


class _NotPlainError(Exception):
    """Typer has to convert this value."""


class _Converter:
    def __init__(self, parameter: TyperOption | TyperArgument) -> None:
        self._parameter = parameter
        self._is_repeatable = parameter.multiple or parameter.nargs == -1

    def coerce(self, value: Any, *, param: Any, ctx: Context) -> Any:
        """Convert a value; Typer calls this."""
        if value is None:
            return () if self._is_repeatable else None
        with suppress(_NotPlainError, ValueError):
            return self._convert(value)
        self._parameter._runtime_param = None  # noqa: SLF001  so that Typer makes its own
        return self._parameter.get_runtime_param().coerce(value, param=param, ctx=ctx)

    def _convert(self, value: Any) -> Any:
        annotation: Any = self._parameter.type_descriptor.annotation
        if not self._is_repeatable:
            return self._convert_item(value, annotation)
        (item_annotation,) = get_args(annotation)
        return [self._convert_item(item, item_annotation) for item in value]

    def _convert_item(self, value: Any, annotation: Any) -> Any:
        parser = self._parameter.type_descriptor.parameter_info.parser
        if parser is not None:
            return parser(value)
        is_default_count = annotation is int and type(value) is int and value == self._parameter.default
        if is_default_count or (annotation is str and isinstance(value, str)):
            return value
        raise _NotPlainError
