"""Conditions on the payload of an event, in JMESPath (https://jmespath.org/specification.html). Pure.

What could make a value larger than the payload is refused when a condition is set (see `_check`); what is
left walks over parts of the payload, and its steps are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.visitor import TreeInterpreter

if TYPE_CHECKING:
    from jmespath.visitor import _TreeNode

LONGEST_CONDITION = 400
# Parts of the payload and of the expression that one evaluation may look at.
MOST_VISITS = 20_000

# Multi-select is left out: `[@,@]|[@,@]|…` doubles a value with every six characters.
_NODES = {
    "and_expression", "comparator", "current", "field", "filter_projection", "flatten", "function_expression",
    "identity", "index", "index_expression", "literal", "not_expression", "or_expression", "pipe",
    "projection", "slice", "subexpression", "value_projection",
}  # fmt: skip
_FUNCTIONS = {"contains", "ends_with", "length", "not_null", "starts_with", "type"}


class ConditionFailed(Exception):
    """The condition cannot be answered for this payload; the message says why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked condition, ready to be asked."""

    text: str
    _tree: _TreeNode

    def holds(self, payload: object) -> bool:
        """Whether this parsed payload meets it: JMESPath's truth, so null, false and what is empty are not.

        Raises ConditionFailed when a function is given a type that it does not take, or too much is visited.
        """
        try:
            answer = _Counting().visit(self._tree, payload)
        except JMESPathError as error:
            raise ConditionFailed(str(error)) from error
        except RecursionError as error:
            raise ConditionFailed("It goes too deep.") from error
        return answer is not None and answer is not False and answer not in ("", [], {})


def check_condition(text: str) -> Condition:
    """Make a condition of its text; raises ValueError saying what is wrong with it."""
    if len(text) > LONGEST_CONDITION:
        raise ValueError(f"A condition has at most {LONGEST_CONDITION} characters, this one has {len(text)}.")
    try:
        tree = jmespath.compile(text).parsed
        _check(tree)
    except JMESPathError as error:
        raise ValueError(f"This is not JMESPath: {error}") from None
    except RecursionError:
        raise ValueError("A condition may not be nested that deep.") from None
    return Condition(text, tree)


def _check(node: _TreeNode) -> None:
    kind = node["type"]
    if kind not in _NODES:
        raise ValueError(f"A condition may not use {kind.replace('_', ' ')}.")
    if kind == "function_expression" and node["value"] not in _FUNCTIONS:
        raise ValueError(f"A condition may use {', '.join(sorted(_FUNCTIONS))}; not {node['value']}.")
    if kind == "literal" and isinstance(node["value"], list | dict):
        # `@[*].`[1,2,3]`[]` would put one of them for each element.
        raise ValueError("A condition may compare with text, numbers, true, false and null, not with a list.")
    for child in node["children"]:
        if isinstance(child, dict):
            _check(child)


class _Counting(TreeInterpreter):
    """The library's interpreter, which gives up after MOST_VISITS."""

    def __init__(self) -> None:
        super().__init__()
        self._visits = 0

    def visit(self, node: _TreeNode, *args: object, **kwargs: object) -> Any:
        self._visits += 1
        if self._visits > MOST_VISITS:
            raise ConditionFailed(f"It looks at more than {MOST_VISITS:,} parts of the payload.")
        return super().visit(node, *args, **kwargs)
