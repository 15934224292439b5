"""The second wall between tenants: what PostgreSQL itself lets a tenant's request see and change.

Every query is scoped already. Whatever answers one tenant runs under a role of its own besides, under which
row-level security shows that tenant's rows alone, whatever a query forgets. What serves many tenants in one
transaction runs as the tables' owner, whom no policy binds.

The role has the owner's name and `_tenant` behind it. Roles belong to the whole server: two installations on
one server have different owners, and neither can put on the other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from psycopg import sql
from sqlalchemy import text

from delivery.domain.errors import Misconfigured, Unavailable
from delivery.ledger.db.fast_path import get_driver_connection

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

TENANT_SETTING: Final = "waybill.tenant"
NOT_ENABLED_MESSAGE: Final = "The ledger has no walls between tenants yet: run `waybill db upgrade`."

# Empty after a transaction that had set it: no tenant, and so no rows, rather than an error.
_CURRENT_TENANT = f"nullif(current_setting('{TENANT_SETTING}', true), '')::uuid"
_OWN_ROWS = f"tenant_id = {_CURRENT_TENANT}"


@dataclass(frozen=True, slots=True)
class RowPolicy:
    """What a tenant's request may do with a table, and to which rows."""

    rows: str
    privileges: frozenset[str]

    @classmethod
    def from_privileges(cls, privileges: str, rows: str = _OWN_ROWS) -> RowPolicy:
        """A wall from privileges in words, such as `select insert`."""
        return cls(rows, frozenset(privileges.split()))


# A table that is named neither here nor in OUT_OF_REACH fails a test.
ROW_POLICIES: Final = {
    "tenants": RowPolicy.from_privileges("select update", f"id = {_CURRENT_TENANT}"),
    "api_keys": RowPolicy.from_privileges("select insert update"),
    "endpoints": RowPolicy.from_privileges("select insert update"),
    "endpoint_secrets": RowPolicy.from_privileges("select insert update"),
    "events": RowPolicy.from_privileges("select insert update"),
    "deliveries": RowPolicy.from_privileges("select insert update"),
    "attempts": RowPolicy.from_privileges("select update"),
    "journal": RowPolicy.from_privileges("select insert"),
    # Written by a trigger of `deliveries`, in the name of whoever changes those.
    "failures": RowPolicy.from_privileges("select insert delete"),
    "endpoint_sequence": RowPolicy.from_privileges(
        "select", "exists (select from endpoints e where e.id = endpoint_sequence.endpoint_id)"
    ),
    "schedule": RowPolicy.from_privileges("select insert update delete"),
    # A claim has deliveries of many tenants: who has one of them sees when it was made, and by whom taken.
    "claims": RowPolicy.from_privileges(
        "select", "exists (select from schedule s where s.claim_id = claims.id)"
    ),
    "endpoint_health": RowPolicy.from_privileges(
        "select insert update", "exists (select from endpoints e where e.id = endpoint_health.endpoint_id)"
    ),
    "replays": RowPolicy.from_privileges("select insert update"),
    "replay_items": RowPolicy.from_privileges(
        "select", "exists (select from replays r where r.id = replay_items.replay_id)"
    ),
    "figures": RowPolicy.from_privileges("select"),
    "figures_progress": RowPolicy.from_privileges("select", "true"),  # three moments, of nobody
    "portal_links": RowPolicy.from_privileges("select insert"),
}
# What no request of a tenant has to do with: producers' keys are settled in the shared commit, who somebody
# is was asked before, and whose a refused message is may never have been known. The catalogue of event types
# is the operator's, and is read for everybody alike.
UNREACHABLE_TABLES: Final = frozenset(
    {
        "catalogue",
        "event_type_versions",
        "event_types",
        "idempotency_keys",
        "people",
        "refused_messages",
        "sessions",
        "sign_in_failures",
    }
)

# PostgreSQL 16 tells being a member from being allowed to put a role on.
CAN_SET_ROLE: Final = (
    "case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end"
)
_ROLE_STATUS = text(f"""
    select pg_get_userbyid(t.relowner) as owner, current_user as login, wanted.name,
           t.relrowsecurity as walled, row_security_active(t.oid) as bound, r.oid is not null as known,
           pg_has_role(r.oid, {CAN_SET_ROLE}) as may_put_on,
           r.rolsuper or r.rolbypassrls or pg_has_role(r.oid, t.relowner, 'usage') as unbound
    from pg_class t
    cross join lateral (select left(pg_get_userbyid(t.relowner), 56) || '_tenant' as name) as wanted
    left join pg_roles r on r.rolname = wanted.name
    where t.oid = cast('tenants' as regclass)
""")  # noqa: S608  our own words


async def find_tenant_role(tx: AsyncConnection) -> str:
    """The role that tenants' requests put on, once it is sure that it holds them.

    Raises Unavailable before the ledger is upgraded, and Misconfigured, with what an administrator has to do,
    where the role is missing, cannot be put on, or would hold nobody.
    """
    found = (await tx.execute(_ROLE_STATUS)).one()
    name, owner, login = map(_quote_identifier, (found.name, found.owner, found.login))
    if not found.walled:
        raise Unavailable(NOT_ENABLED_MESSAGE)
    if found.bound:
        raise Misconfigured(
            f"The account {login} is not the owner of the ledger's tables, and sees none of their rows. "
            f"Have an administrator run: grant {owner} to {login};"
        )
    if not found.known:
        raise Misconfigured(
            f"The role {name}, under which tenants' requests run, is not on this server. Have an "
            f"administrator run: create role {name} nologin; grant {name} to {owner}; "
            "and give it back its rights: docs/tenant-isolation.md tells how."
        )
    if not found.may_put_on:
        raise Misconfigured(f"Have an administrator run: grant {name} to {login};")
    if found.unbound:
        raise Misconfigured(
            f"The role {name} passes every wall between tenants: it must be no superuser, have no BYPASSRLS, "
            f"and be no member of {owner}."
        )
    return str(found.name)


async def set_tenant(tx: AsyncConnection, role: str, tenant_id: UUID) -> None:
    """Bind the transaction to one tenant until it ends; one round trip, and before any snapshot is taken."""
    words = sql.SQL("set local role {role}; set local {setting} = {tenant}").format(
        role=sql.Identifier(role),
        setting=sql.Identifier(*TENANT_SETTING.split(".")),
        tenant=sql.Literal(str(tenant_id)),
    )
    # Never prepared: two statements at once cannot be.
    await get_driver_connection(tx).execute(words, prepare=False)


def _quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
