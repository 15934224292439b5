"""Conditions on the payload of an event, in JMESPath (https://jmespath.org/specification.html). Pure.

A condition is evaluated on the event's `data`. Expressions that could build a value larger than the payload
are refused when the condition is set (see `_check_node`); the steps of all others are counted and bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError, JMESPathTypeError
from jmespath.functions import Functions
from jmespath.visitor import Options, TreeInterpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jmespath.visitor import _TreeNode

MAX_CONDITION_LENGTH = 400
# Nodes of payload and expression that one evaluation may visit.
MAX_VISITS = 2_000
_CHARS_PER_VISIT = 256
# Below Python's recursion limit, whatever the depth of the caller.
_MAX_DEPTH = 150

# No multi-select: `[@,@]|[@,@]|…` doubles a value with every six characters.
_ALLOWED_NODES = {
    "and_expression", "comparator", "current", "field", "filter_projection", "flatten", "function_expression",
    "identity", "index", "index_expression", "literal", "not_expression", "or_expression", "pipe",
    "projection", "slice", "subexpression", "value_projection",
}  # fmt: skip
# The number of arguments; None: one or more.
_FUNCTION_ARITIES: dict[str, int | None] = {
    "contains": 2, "ends_with": 2, "length": 1, "not_null": None, "starts_with": 2, "type": 1,
}  # fmt: skip


class ConditionFailed(Exception):
    """The condition cannot be evaluated for this payload; the message says why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition. Without a tree it always fails, and `_error` says why."""

    text: str
    _tree: _TreeNode | None
    _error: str = ""

    def is_met(self, payload: object) -> bool:
        """Whether the parsed payload meets it by JMESPath's truth: null, false and empty values are false.

        Raises ConditionFailed for an argument of a wrong type and when too many nodes are visited. The error
        never quotes the payload, since it is stored for longer than that.
        """
        if self._tree is None:
            raise ConditionFailed(self._error)
        try:
            value = _BudgetedInterpreter().visit(self._tree, payload)
        except ConditionFailed:
            raise
        except JMESPathTypeError as error:
            raise ConditionFailed(_format_type_error(error)) from None
        except RecursionError:
            raise ConditionFailed("It is nested too deeply.") from None
        except TypeError:  # the library lets text be compared with a number
            raise ConditionFailed(
                "It compares values of different types, such as text and a number."
            ) from None
        except Exception:  # noqa: BLE001  whatever the library raises, no event may be lost
            raise ConditionFailed("It cannot be evaluated for this payload.") from None
        return value is not None and value is not False and value not in ("", [], {})


class ConditionResult(NamedTuple):
    """Whether a condition is met; `error` says why it could not be evaluated, and it counts as met then."""

    is_met: bool
    error: str | None = None


class ConditionEvaluator:
    """Evaluates conditions on one payload: each once; the payload is parsed for the first."""

    def __init__(self, data: bytes) -> None:
        """`data` is JSON; it is parsed when the first condition is evaluated."""
        self._data = data
        self._payload: object = _NOT_PARSED
        self._results: dict[str, ConditionResult] = {}

    def evaluate(self, condition: Condition) -> ConditionResult:
        """The result of a condition."""
        result = self._results.get(condition.text)
        if result is None:
            result = self._results[condition.text] = self._evaluate(condition)
        return result

    def forget_payload(self) -> None:
        """Drop the parsed payload, which takes much more memory than its bytes; results stay."""
        self._payload = _NOT_PARSED

    def _evaluate(self, condition: Condition) -> ConditionResult:
        try:
            if self._payload is _NOT_PARSED:
                self._payload = msgspec.json.decode(self._data)
            return ConditionResult(condition.is_met(self._payload))
        except ConditionFailed as error:
            return ConditionResult(is_met=True, error=str(error))
        except (ValueError, RecursionError):
            return ConditionResult(is_met=True, error="The payload cannot be read.")


_NOT_PARSED: Final = object()


def compile_condition(text: str) -> Condition:
    """Compile a condition; raises ValueError with the reason."""
    if len(text) > MAX_CONDITION_LENGTH:
        raise ValueError(
            f"A condition has at most {MAX_CONDITION_LENGTH} characters, this one has {len(text)}."
        )
    try:
        tree = jmespath.compile(text).parsed
        _check_node(tree)
    except JMESPathError as error:
        raise ValueError(f"This is not JMESPath: {_format_parse_error(error)}") from None
    except RecursionError:
        raise ValueError("The condition is nested too deeply.") from None
    return Condition(text, tree)


@lru_cache(maxsize=1024)
def compile_stored_condition(text: str) -> Condition:
    """Compile a condition that was checked when it was set; one that is no longer valid always fails."""
    try:
        return compile_condition(text)
    except ValueError as error:
        return Condition(text, None, str(error))


def _format_parse_error(error: JMESPathError) -> str:
    """The first line of the library's message; the others repeat the expression."""
    first_line, _, _ = str(error).partition("\n")
    message = first_line.removeprefix("Invalid jmespath expression: ").removesuffix(", for expression:")
    return message.rstrip(":.") + "."


def _format_type_error(error: JMESPathTypeError) -> str:
    takes = " or ".join(error.expected_types)
    return f"{error.function_name}() takes {takes}, not {error.actual_type}."


def _check_node(node: _TreeNode, *, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("The condition is nested too deeply.")
    kind = node["type"]
    if kind not in _ALLOWED_NODES:
        raise ValueError(f"A condition may not use {kind.replace('_', ' ')}.")
    if kind == "function_expression":
        _check_call(node["value"], len(node["children"]))
    if kind == "literal" and isinstance(node["value"], list | dict):
        # `@[*].`[1,2,3]`[]` would build a copy for each element.
        raise ValueError("A condition may compare with text, numbers, true, false and null, not with a list.")
    for child in node["children"]:
        if isinstance(child, dict):
            _check_node(child, depth=depth + 1)


def _check_call(name: str, count: int) -> None:
    if name not in _FUNCTION_ARITIES:
        raise ValueError(f"A condition may use {', '.join(sorted(_FUNCTION_ARITIES))}; not {name}.")
    arity = _FUNCTION_ARITIES[name]
    if count != arity and not (arity is None and count):
        raise ValueError(f"{name}() takes {arity or 'one or more'} {'value' if arity == 1 else 'values'}.")


def _is_equal(left: object, right: object) -> Any:
    if isinstance(left, list | dict) and isinstance(right, list | dict):
        raise ConditionFailed("It compares a list or an object with another.")
    return TreeInterpreter.COMPARATOR_FUNC["eq"](left, right)


class _BudgetedInterpreter(TreeInterpreter):
    """The library's interpreter with a budget of MAX_VISITS.

    A step on many elements at once counts each of them.
    """

    COMPARATOR_FUNC: ClassVar = {
        **TreeInterpreter.COMPARATOR_FUNC,
        "eq": _is_equal,
        "ne": lambda left, right: not _is_equal(left, right),
    }

    def __init__(self) -> None:
        super().__init__(Options(custom_functions=_BudgetedFunctions(self.count)))
        self._visits = 0

    def visit(self, node: _TreeNode, *args: object, **kwargs: object) -> Any:
        self.count(1)
        return super().visit(node, *args, **kwargs)

    def visit_flatten(self, node: _TreeNode, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        self.count(len(base) if isinstance(base, list) else 0)
        return super().visit_flatten({**node, "children": [_CURRENT]}, base)

    def count(self, visits: int) -> None:
        self._visits += visits
        if self._visits > MAX_VISITS:
            raise ConditionFailed(f"It evaluates more than {MAX_VISITS:,} parts of the payload.")


_CURRENT: Final[_TreeNode] = {"type": "current", "children": [], "value": None}


class _BudgetedFunctions(Functions):
    """The library's functions; searching a list or a long text counts."""

    def __init__(self, count: Callable[[int], None]) -> None:
        super().__init__()
        self._count = count

    def call_function(self, function_name: str, resolved_args: Iterable[Any]) -> Any:
        arguments = list(resolved_args)
        if function_name == "contains":
            subject, element = arguments
            if isinstance(element, list | dict):
                raise ConditionFailed("It searches for a list or an object.")
            if isinstance(subject, str):
                self._count(len(subject) // _CHARS_PER_VISIT)
            elif isinstance(subject, list):
                self._count(len(subject))
        return super().call_function(function_name, arguments)
