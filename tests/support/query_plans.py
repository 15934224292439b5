"""The plans of statements that the engine sends: intercepted, rolled back and explained."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from psycopg import sql

from tests.support import ledger_builders as build
from tests.support.postgres import connect
from tests.support.recorded_statements import record_statements

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from uuid import UUID

    import psycopg

    from delivery.ledger.db.session import Ledger, Transaction

    Act = Callable[[Transaction], Awaitable[object]]
    Node = Mapping[str, Any]

# The steps of a plan that say how many rows they threw away.
REMOVED_ROWS_FIELDS = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
# Statements that change later plans are not explained themselves.
SET_LOCAL = "set local "


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """A statement and what the server did for it."""

    statement: str
    root: Node

    def iter_nodes(self) -> Iterator[Node]:
        """Every step of the plan, those that were never taken too."""
        todo = [self.root]
        while todo:
            node = todo.pop()
            yield node
            todo += node.get("Plans", [])

    def find_scans(self, relation: str | re.Pattern[str]) -> list[Node]:
        """The scans of a table, or of the tables of a pattern."""
        pattern = re.compile(relation)
        return [
            node
            for node in self.iter_nodes()
            if "Scan" in node["Node Type"] and pattern.fullmatch(node.get("Relation Name", ""))
        ]

    def count_rows_read(self, relation: str) -> int:
        """How many rows of a table were read, wanted or not."""
        return sum(
            (node["Actual Rows"] + sum(node.get(name, 0) for name in REMOVED_ROWS_FIELDS))
            * node["Actual Loops"]
            for node in self.find_scans(relation)
        )


class Explainer:
    """Runs parts of the engine and keeps the plans of the statements that they send."""

    def __init__(self, ledger: Ledger, url: str, planner: Mapping[str, str]) -> None:
        """Explain with these settings of the planner."""
        self._ledger = ledger
        self._url = url
        self._planner = planner
        self.plans: dict[str, list[QueryPlan]] = {}

    @classmethod
    async def from_ledger(cls, ledger: Ledger, url: str, **planner: str) -> Explainer:
        """Explain with the planner's settings that the engine's connections have, and these."""
        own = await build.fetch_rows(
            ledger,
            "select name, setting from pg_settings where source = 'client' and name ~ '^(enable_|jit$)'",
        )
        assert own  # the engine tells the planner how it wants to be served
        return cls(ledger, url, {row.name: row.setting for row in own} | planner)

    async def explain(self, name: str, act: Act, *, tenant_id: UUID | None = None) -> None:
        """Find out what is sent, undo it, and explain it; `of` a tenant, as its requests are held to it."""
        sent: list[tuple[str, dict[str, Any]]] = []

        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            async with record_statements(tx, lambda statement, values: sent.append((statement, values))):
                await act(tx)
            await tx.rollback()
        settings = [statement for statement, _ in sent if statement.startswith(SET_LOCAL)]
        self.plans[name] = [
            self._explain_statement(*each, settings, tenant_id)
            for each in sent
            if not each[0].startswith(SET_LOCAL)
        ]

    def _explain_statement(
        self, statement: str, values: dict[str, Any], settings: list[str], of: UUID | None
    ) -> QueryPlan:
        names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
        numbered = re.sub(r"%\((\w+)\)s", lambda found: _format_parameter(names, found[1], values), statement)
        given = sql.SQL(", ").join(sql.Literal(values[name]) for name in names)
        with connect(self._url) as connection, connection.transaction(force_rollback=True):
            for setting in self._planner.items():
                connection.execute("select set_config(%s, %s, true)", setting)
            for own in settings:
                connection.execute(own.encode())
            if of is not None:
                bind_tenant(connection, of)
            connection.execute(f"prepare caught as {numbered.replace('%%', '%')}".encode())
            call = sql.SQL("caught ({})").format(given) if names else sql.SQL("caught")
            explained = connection.execute(sql.SQL("explain (analyze, format json) execute ") + call)
            ((plans,),) = explained.fetchall()
        return QueryPlan(" ".join(statement.split()), plans[0]["Plan"])


def bind_tenant(connection: psycopg.Connection, tenant: UUID) -> None:
    """Hold this transaction to a tenant, as the ledger does for its requests."""
    connection.execute("select set_config('waybill.tenant', %s, true)", (str(tenant),))
    connection.execute("select set_config('role', current_user || '_tenant', true)")


def _format_parameter(names: list[str], name: str, values: dict[str, Any]) -> str:
    kind = "::interval" if isinstance(values[name], timedelta) else ""
    return f"${names.index(name) + 1}{kind}"


def analyze_tables(url: str) -> None:
    """Do as autovacuum does: it looks at tables that have come to hold something, and at no parent of any."""
    with connect(url) as connection:
        tables = connection.execute(
            """
            select oid::regclass::text from pg_class
            where relkind = 'r' and relnamespace = 'public'::regnamespace
            """
        ).fetchall()
        for (table,) in tables:
            if connection.execute(f"select 1 from {table} limit 1".encode()).fetchone():  # noqa: S608  a name of ours
                connection.execute(f"analyze {table}".encode())
