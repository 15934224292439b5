"""What work costs in statements, round trips, commits and messages, and what it may cost at most.

Counts, not times: a slow machine asks as often as a fast one, as long as what the clock makes it ask is left
out. That is told by a transaction's first statement, and a statement has the name that it has in
`delivery/ledger/`: `_CLAIM` in `claiming.py` is `claims.claim`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import TextClause

from delivery import ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from tests.support.wire_counting import Transaction

# Statements that come with time or with a connection, not with deliveries. `claims.count_queued` alone is a
# check of a full queue.
_BACKGROUND_STATEMENTS = {
    "claims.ready",
    "claims.rescue",
    "endpoint_health.ensure",
    "live.oldest_due",
    "readiness.missing_tables",
    "jobs.claim_due",
    "show server_version_num",
    "listen waybill_due",
    "select pg_catalog.version()",
}
_BACKGROUND_MODULES = {
    "dead_letters",
    "drop_partitions",
    "event_types",
    "expiry",
    "login_failures",
    "partitions",
    "prune_rows",
    "rollup",
    "sessions",
}
_EMPTY_POLL = ["claims.count_queued"]
_PARAMETER = re.compile(r"\$\d+|%\(\w+\)s|(?<![:\w]):\w+")
_COLUMN_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Cost:
    """How often something was asked for. Round trips count BEGIN and COMMIT, statements do not."""

    commits: int
    statements: int
    round_trips: int
    messages: int = 0


@dataclass(frozen=True, slots=True)
class CostReport:
    """What `who` asked for in doing `what`, and what it asked for by the clock meanwhile."""

    process: str
    action: str
    transactions: Sequence[Transaction]
    messages: int = 0

    @property
    def work_transactions(self) -> list[Transaction]:
        """The cost of the work itself."""
        return [one for one in self.transactions if not _is_background(one)]

    @property
    def background_transactions(self) -> list[Transaction]:
        """The cost of periodic statements."""
        return [one for one in self.transactions if _is_background(one)]

    @property
    def cost(self) -> Cost:
        """How often the work asked for something."""
        return sum_costs(self.work_transactions, messages=self.messages)


@dataclass(frozen=True, slots=True)
class CostCheck:
    """A bill, and what may stand on it.

    `seen` names statements that must have been counted: else something went past us, or has another name now.
    """

    report: CostReport
    max_cost: Cost
    expected_statements: Collection[str]

    @property
    def errors(self) -> list[str]:
        """The exceeded limits, a sentence each."""
        bill, counted, allowed = self.report, asdict(self.report.cost), asdict(self.max_cost)
        return [
            f"{bill.action} took the {bill.process} {counted[name]:,} {_humanize(name)}; "
            f"at most {most:,} are allowed."
            for name, most in allowed.items()
            if counted[name] > most
        ] + [
            f"The {bill.process} was not seen asking for {name}."
            for name in sorted(
                set(self.expected_statements) - _count_statements(bill.work_transactions).keys()
            )
        ]

    @property
    def table(self) -> str:
        """Every count, beside what is allowed, and where it comes from."""
        allowed = asdict(self.max_cost)
        lines = [
            f"{self.report.process}: {self.report.action}",
            f"  {'':<{_COLUMN_WIDTH}}{'counted':>9}{'at most':>9}",
        ]
        lines += [
            f"  {_humanize(name):<{_COLUMN_WIDTH}}{number:>9,}{allowed[name]:>9,}"
            for name, number in asdict(self.report.cost).items()
        ]
        lines += ["  of it, by statement", *_format_rows(self.report.work_transactions)]
        return "\n".join(
            [
                *lines,
                "  not counted: the clock asks for it",
                *_format_rows(self.report.background_transactions),
            ]
        )


def assert_costs(*audits: CostCheck) -> None:
    """Fail, with all that was counted, if anything was asked for more often than it may be."""
    faults = [fault for audit in audits for fault in audit.errors]
    assert not faults, "\n\n".join(["\n".join(faults), *[audit.table for audit in audits]])


def sum_costs(transactions: Iterable[Transaction], *, messages: int = 0) -> Cost:
    """Everything that these transactions asked for."""
    known = list(transactions)
    return Cost(
        commits=sum(one.committed is True for one in known),
        statements=sum(len(one.statements) for one in known),
        round_trips=sum(one.round_trips for one in known),
        messages=messages,
    )


def get_statement_name(statement: str) -> str:
    """The name that a statement has in `delivery/ledger/`, else its first words."""
    bare = _normalize_statement(statement)
    return _load_statement_names().get(bare, bare[: _COLUMN_WIDTH - 2])


def _is_background(transaction: Transaction) -> bool:
    names = [get_statement_name(statement) for statement in transaction.statements]
    if not names:
        return False
    return (
        names == _EMPTY_POLL
        or names[0] in _BACKGROUND_STATEMENTS
        or names[0].partition(".")[0] in _BACKGROUND_MODULES
    )


def _format_rows(transactions: Iterable[Transaction]) -> list[str]:
    return [
        f"    {name:<{_COLUMN_WIDTH - 2}}{number:>9,}"
        for name, number in _count_statements(transactions).most_common()
    ]


def _count_statements(transactions: Iterable[Transaction]) -> Counter[str]:
    return Counter(get_statement_name(statement) for one in transactions for statement in one.statements)


def _humanize(name: str) -> str:
    return name.replace("_", " ")


@cache
def _load_statement_names() -> dict[str, str]:
    """The names of all statements that stand in a module of the ledger, by their bare text."""
    names: dict[str, str] = {}
    for found in pkgutil.walk_packages(ledger.__path__, f"{ledger.__name__}."):
        module = importlib.import_module(found.name)
        short = found.name.rpartition(".")[2]
        for name, value in vars(module).items():
            for text in _iter_texts(value):
                names.setdefault(_normalize_statement(text), f"{short}.{name.strip('_').lower()}")
    return names


def _iter_texts(value: object) -> Iterator[str]:
    match value:
        case TextClause():
            yield value.text
        case str():
            yield value
        case tuple():
            for part in value:
                yield from _iter_texts(part)
        case _:
            pass


def _normalize_statement(statement: str) -> str:
    """A statement without what the driver changes: how parameters are written, and white space."""
    return " ".join(_PARAMETER.sub("?", statement).split())
