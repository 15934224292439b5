"""What work costs in statements, round trips, commits and messages, and what it may cost at most.

Counts, not times: a slow machine asks as often as a fast one, as long as what the clock makes it ask is left
out. That is told by a transaction's first statement, and a statement has the name that it has in
`delivery/ledger/`: `_CLAIM` in `claiming.py` is `claiming.claim`.
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

    from tests.support.counting import Transaction

# What comes with time, or with a connection, and not with deliveries. `claiming.unstarted` alone is a look at
# a queue that has no room.
_BY_THE_CLOCK = {
    "claiming.ready",
    "claiming.rescue",
    "health.ensure",
    "present.oldest",
    "readiness.missing",
    "replays.take_due",
    "show server_version_num",
    "listen waybill_due",
    "select pg_catalog.version()",
}
_MODULES_BY_THE_CLOCK = {
    "event_types",
    "figures",
    "messages",
    "partitions",
    "retiring",
    "sessions",
    "sign_in_failures",
    "thinning",
    "upkeep",
}
_LOOK = ["claiming.unstarted"]
_PARAMETER = re.compile(r"\$\d+|%\(\w+\)s|(?<![:\w]):\w+")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Cost:
    """How often something was asked for. Round trips count BEGIN and COMMIT, statements do not."""

    commits: int
    statements: int
    round_trips: int
    messages: int = 0


@dataclass(frozen=True, slots=True)
class Bill:
    """What `who` asked for in doing `what`, and what it asked for by the clock meanwhile."""

    who: str
    what: str
    transactions: Sequence[Transaction]
    messages: int = 0

    @property
    def counted(self) -> list[Transaction]:
        """What the work itself took."""
        return [one for one in self.transactions if not _is_by_the_clock(one)]

    @property
    def beside(self) -> list[Transaction]:
        """What the clock asked for."""
        return [one for one in self.transactions if _is_by_the_clock(one)]

    @property
    def cost(self) -> Cost:
        """How often the work asked for something."""
        return cost_of(self.counted, messages=self.messages)


@dataclass(frozen=True, slots=True)
class Audit:
    """A bill, and what may stand on it.

    `seen` names statements that must have been counted: else something went past us, or has another name now.
    """

    bill: Bill
    most: Cost
    seen: Collection[str]

    @property
    def faults(self) -> list[str]:
        """What is wrong, each in one sentence."""
        bill, counted, allowed = self.bill, asdict(self.bill.cost), asdict(self.most)
        return [
            f"{bill.what} took the {bill.who} {counted[name]:,} {_plain(name)}; at most {most:,} are allowed."
            for name, most in allowed.items()
            if counted[name] > most
        ] + [
            f"The {bill.who} was not seen asking for {name}."
            for name in sorted(set(self.seen) - _tally(bill.counted).keys())
        ]

    @property
    def table(self) -> str:
        """Every count, beside what is allowed, and where it comes from."""
        allowed = asdict(self.most)
        lines = [f"{self.bill.who}: {self.bill.what}", f"  {'':<{_SHOWN}}{'counted':>9}{'at most':>9}"]
        lines += [
            f"  {_plain(name):<{_SHOWN}}{number:>9,}{allowed[name]:>9,}"
            for name, number in asdict(self.bill.cost).items()
        ]
        lines += ["  of it, by statement", *_rows(self.bill.counted)]
        return "\n".join([*lines, "  not counted: the clock asks for it", *_rows(self.bill.beside)])


def check(*audits: Audit) -> None:
    """Fail, with all that was counted, if anything was asked for more often than it may be."""
    faults = [fault for audit in audits for fault in audit.faults]
    assert not faults, "\n\n".join(["\n".join(faults), *[audit.table for audit in audits]])


def cost_of(transactions: Iterable[Transaction], *, messages: int = 0) -> Cost:
    """Everything that these transactions asked for."""
    known = list(transactions)
    return Cost(
        commits=sum(one.committed is True for one in known),
        statements=sum(len(one.statements) for one in known),
        round_trips=sum(one.round_trips for one in known),
        messages=messages,
    )


def name_of(statement: str) -> str:
    """The name that a statement has in `delivery/ledger/`, else its first words."""
    bare = _bare(statement)
    return _names().get(bare, bare[: _SHOWN - 2])


def _is_by_the_clock(transaction: Transaction) -> bool:
    names = [name_of(statement) for statement in transaction.statements]
    if not names:
        return False
    return names == _LOOK or names[0] in _BY_THE_CLOCK or names[0].partition(".")[0] in _MODULES_BY_THE_CLOCK


def _rows(transactions: Iterable[Transaction]) -> list[str]:
    return [f"    {name:<{_SHOWN - 2}}{number:>9,}" for name, number in _tally(transactions).most_common()]


def _tally(transactions: Iterable[Transaction]) -> Counter[str]:
    return Counter(name_of(statement) for one in transactions for statement in one.statements)


def _plain(name: str) -> str:
    return name.replace("_", " ")


@cache
def _names() -> dict[str, str]:
    """The names of all statements that stand in a module of the ledger, by their bare text."""
    names: dict[str, str] = {}
    for found in pkgutil.iter_modules(ledger.__path__):
        module = importlib.import_module(f"{ledger.__name__}.{found.name}")
        for name, value in vars(module).items():
            for text in _texts(value):
                names.setdefault(_bare(text), f"{found.name}.{name.strip('_').lower()}")
    return names


def _texts(value: object) -> Iterator[str]:
    match value:
        case TextClause():
            yield value.text
        case str():
            yield value
        case tuple():
            for part in value:
                yield from _texts(part)
        case _:
            pass


def _bare(statement: str) -> str:
    """A statement without what the driver changes: how parameters are written, and white space."""
    return " ".join(_PARAMETER.sub("?", statement).split())
