"""Names that a stranger can find: one class name, one place; verbs for functions; standard words."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("clients", "delivery", "migrations", "retries", "signing", "workers")
ALL = (*PRODUCT, "benchmarks", "tests")
MAX_TEST_NAME = 90
BANNED_FUNCTIONS = {"of", "one", "told", "asked", "kept", "shown", "given"}
BANNED_PREFIXES = ("MOST_", "LONGEST_", "SHORTEST_", "FEWEST_")
# The client is a distribution of its own, which knows nothing of the engine: both name errors alike.
_CLIENT = "waybill_client is a distribution of its own"
DEFINED_TWICE = {
    **dict.fromkeys(
        (
            "Conflict",
            "Invalid",
            "NotAllowed",
            "NotAuthenticated",
            "NotFound",
            "Problem",
            "Refused",
            "TooLarge",
        ),
        _CLIENT,
    ),
}


@cache
def parse_modules(*folders: str) -> tuple[tuple[Path, ast.Module], ...]:
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple((path.relative_to(ROOT), ast.parse(path.read_bytes())) for path in files)


def find_assigned_names(tree: ast.AST) -> set[str]:
    return {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def test_a_public_class_name_is_defined_in_one_module_only() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in parse_modules(*PRODUCT):
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path))
    twice = {name: where for name, where in places.items() if len(where) > 1 and name not in DEFINED_TWICE}
    assert twice == {}
    assert [name for name in DEFINED_TWICE if len(places[name]) < 2] == []  # no exception outlives its reason


@pytest.mark.parametrize("folder", ALL)
def test_functions_have_names_that_say_what_they_do(folder: str) -> None:
    assert [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in parse_modules(folder)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in BANNED_FUNCTIONS
    ] == []


@pytest.mark.parametrize("folder", ALL)
def test_limits_are_called_max_and_min(folder: str) -> None:
    assert [
        f"{path} {name}"
        for path, tree in parse_modules(folder)
        for name in sorted(find_assigned_names(tree))
        if name.lstrip("_").startswith(BANNED_PREFIXES)
    ] == []


def test_test_names_are_at_most_90_letters() -> None:
    assert [
        f"{path} {node.name}"
        for path, tree in parse_modules("tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and len(node.name) > MAX_TEST_NAME
    ] == []
