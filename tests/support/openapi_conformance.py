"""An API against its own OpenAPI document: schemathesis asks, and whatever an answer breaks is kept.

The dice are hypothesis's alone, and nothing is shrunk: what was found is told with a line for curl instead.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hypothesis.strategies import SearchStrategy
    from schemathesis import Case as AnyCase
    from schemathesis import Response
    from schemathesis.schemas import APIOperation

    Case = AnyCase[Any]
    Operation = APIOperation[Any, Any, Any, Any]

# `negative_data_rejection` is left out, and `positive_data_acceptance` with it: a JSON Schema cannot say all
# that is refused (a host that leads inside), and tells apart what a query does not (`limit=1`, `limit="1"`).
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
TENANT_HEADER = "Waybill-Tenant"
_TIMEOUT_SECONDS = 30
# One case in this many keeps its generated ids.
_KEEP_MADE_UP_IDS_EVERY = 4


@dataclass(frozen=True, slots=True)
class SampleTenant:
    """A tenant with one of everything: its key, and ids by the names that the document has for them."""

    key: str
    ids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ExerciseEffort:
    """How hard to look at each operation, beside its examples.

    `counted`: about how many of the cases that schemathesis counts out, spread over all; None: every one.
    `random`: how many random ones, valid and then broken. `repeatable`: the same ones each time.
    """

    coverage_cases: int | None
    random_cases: int
    is_deterministic: bool = True


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """What came of it: answers by operation and status, and what was broken."""

    answers: dict[str, Counter[int]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    @property
    def request_count(self) -> int:
        """How many requests were answered."""
        return sum(answers.total() for answers in self.answers.values())

    def list_never_succeeded(self) -> set[str]:
        """The operations that refused whatever they were asked."""
        return {
            name for name, answers in self.answers.items() if not any(200 <= one < 300 for one in answers)
        }


def make_strict(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as a promise: answers hold nothing that it does not name; `default` is for refusals."""
    promised = copy.deepcopy(dict(document))
    for schema in promised["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    for operations in promised["paths"].values():
        for operation in operations.values():
            refused = operation["responses"].pop("default")
            operation["responses"] |= {"4XX": refused, "503": refused}
    return promised


def is_path_ambiguous(operation: Operation) -> bool:
    """Whether another path of the document matches this one too: `/events/{event_id}` does `/events/batch`.

    There, a method that this path does not have may be one of the other's.
    """
    own = operation.path.split("/")
    others = (path.split("/") for path in operation.schema if path != operation.path)
    return any(
        len(other) == len(own)
        and all(theirs.startswith("{") or theirs == mine for theirs, mine in zip(other, own, strict=True))
        for other in others
    )


def exercise_api(
    url: str,
    document: Mapping[str, Any],
    effort: ExerciseEffort,
    *,
    operator_key: str,
    make_tenant: Callable[[], SampleTenant],
) -> ConformanceReport:
    """Ask every operation of the API at `url`; each is asked about a tenant of its own."""
    schema = schemathesis.openapi.from_dict(make_strict(document))
    # Repeated wrong keys are throttled as guesses.
    schema.config.generation.with_security_parameters = False
    found = ConformanceReport()
    with requests.Session() as session:
        for read in schema.get_all_operations():
            if isinstance(read, Err):
                found.violations.append(f"The document cannot be read: {read.err()}")
                continue
            operation = read.ok()
            asker = _OperationTester(url, session, operator_key, make_tenant(), operation, found)
            for strategy in operation.get_strategies_from_examples():
                _run_random_cases(strategy, 1, effort, asker.run_case)
            for case in _iter_coverage_cases(operation, effort):
                asker.run_case(case)
            # What takes nothing can be asked in one way alone.
            if operation.body or any(operation.iter_parameters()):
                for mode in GenerationMode:
                    _run_random_cases(
                        operation.as_strategy(generation_mode=mode),
                        effort.random_cases,
                        effort,
                        asker.run_case,
                    )
    return found


def _iter_coverage_cases(operation: Operation, effort: ExerciseEffort) -> Iterator[Case]:
    cases = list(
        operation.schema.iter_coverage_cases(
            operation,
            generation_modes=list(GenerationMode),
            generation_config=operation.schema.config.generation,
        )
    )
    yield from cases[:: 1 if effort.coverage_cases is None else max(1, len(cases) // effort.coverage_cases)]


def _run_random_cases(
    strategy: SearchStrategy[Case], count: int, effort: ExerciseEffort, ask: Callable[[Case], None]
) -> None:
    look = settings(
        max_examples=count,
        derandomize=effort.is_deterministic,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    def run_case(case: Case) -> None:
        ask(case)

    look(given(case=strategy)(run_case))()


@dataclass(slots=True)
class _OperationTester:
    """Asks one operation."""

    url: str
    session: requests.Session
    operator_key: str
    tenant: SampleTenant
    operation: Operation
    report: ConformanceReport
    # The query that the next page of a list is asked with.
    _further: Mapping[str, Any] | None = None
    _number: int = 0

    def run_case(self, case: Case) -> None:
        """Ask once, and look at the answer."""
        answers = self.report.answers.setdefault(self.operation.label, Counter())
        self._number += 1
        self._aim(case)
        headers = self._headers()
        answer = case.call(base_url=self.url, session=self.session, headers=headers, timeout=_TIMEOUT_SECONDS)
        answers[answer.status_code] += 1
        self._remember(case, answer)
        checks = [*CHECKS, *([] if is_path_ambiguous(self.operation) else [unsupported_method])]
        try:
            case.validate_response(answer, checks=checks)
        except FailureGroup as broken:
            shown = case.as_curl_command(headers=headers)
            self.report.violations.extend(
                f"{self.operation.label}: {fault}\n  {shown}" for fault in broken.exceptions
            )

    def _aim(self, case: Case) -> None:
        """Most cases are about things that exist."""
        if self._number % _KEEP_MADE_UP_IDS_EVERY == 0:
            return
        case.path_parameters = {
            name: self.tenant.ids.get(name, value) for name, value in case.path_parameters.items()
        }
        if "cursor" in case.query and self._further:
            case.query = dict(self._further)
        else:
            case.query = use_real_ids(self._plain(case.query), self.tenant.ids)
        if isinstance(case.body, dict):
            case.body = use_real_ids(case.body, self.tenant.ids)

    def _plain(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Without a made-up cursor, and often with one filter alone: all of them let nothing through."""
        kept = [(name, value) for name, value in query.items() if name != "cursor"]
        if kept and self._number // 2 % 2:
            return dict([kept[self._number // _KEEP_MADE_UP_IDS_EVERY % len(kept)]])
        return dict(kept)

    def _headers(self) -> dict[str, str]:
        security = self.operation.definition.raw.get("security", ())
        if any("operate" in scopes for needed in security for scopes in needed.values()):
            return {"Authorization": f"Bearer {self.operator_key}"}
        if self._number % 2:
            return {"Authorization": f"Bearer {self.tenant.key}"}
        return {
            "Authorization": f"Bearer {self.operator_key}",
            TENANT_HEADER: self.tenant.ids["tenant_id"],
        }

    def _remember(self, case: Case, answer: Response) -> None:
        content_type = answer.headers.get("content-type", [""])[0]
        if answer.status_code == 200 and content_type == "application/json":
            told = answer.json()
            if isinstance(told, dict) and isinstance(told.get("next"), str):
                self._further = {**case.query, "cursor": told["next"]}


def use_real_ids(value: Any, ids: Mapping[str, str], name: str = "") -> Any:
    """The same value, with ids of things that exist where it names such things."""
    if isinstance(value, dict):
        return {inner: use_real_ids(one, ids, inner) for inner, one in value.items()}
    real = ids.get(name) or ids.get(f"{name}_id")
    if real is None:
        return value
    return [real] if isinstance(value, list) else real
