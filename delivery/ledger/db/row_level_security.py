"""Row-level security: the rows that PostgreSQL lets a tenant's request see and change.

Every query filters by tenant already. In addition, requests of one tenant run under a role to which row-level
security shows only that tenant's rows, even if a query forgets its filter. Work for many tenants in one
transaction runs as the tables' owner, to whom no policy applies.

The role is called after the owner, with `_tenant` appended. Roles belong to the whole server: two
installations on one server have different owners, and neither can set the other's role.
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
NOT_ENABLED_MESSAGE: Final = "The ledger has no row-level security yet: run `waybill db upgrade`."

# Empty after a transaction that had set it: no tenant, and so no rows, rather than an error.
_CURRENT_TENANT = f"nullif(current_setting('{TENANT_SETTING}', true), '')::uuid"
_OWN_ROWS = f"tenant_id = {_CURRENT_TENANT}"


@dataclass(frozen=True, slots=True)
class RowPolicy:
    """A tenant's privileges on a table, and the rows they apply to."""

    rows: str
    privileges: frozenset[str]

    @classmethod
    def from_privileges(cls, privileges: str, rows: str = _OWN_ROWS) -> RowPolicy:
        """Build a policy from privileges in words, such as `select insert`."""
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
    # Written by a trigger of `deliveries`, as the role that changes those.
    "failures": RowPolicy.from_privileges("select insert delete"),
    "endpoint_sequence": RowPolicy.from_privileges(
        "select", "exists (select from endpoints e where e.id = endpoint_sequence.endpoint_id)"
    ),
    "schedule": RowPolicy.from_privileges("select insert update delete"),
    # A claim has deliveries of many tenants: each of them sees when it was made, and which worker took it.
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
    "figures_progress": RowPolicy.from_privileges("select", "true"),  # three times, of no tenant
    "portal_links": RowPolicy.from_privileges("select insert"),
}
# No tenant's request needs these: idempotency keys are checked in the shared commit, sign-in comes before
# the request, and the owner of a dead letter may be unknown. The catalogue of event types
# belongs to the operator, and is the same for every tenant.
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

# PostgreSQL 16 distinguishes membership of a role from the right to set it.
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
    """The role for tenants' requests, after a check that it is restricted.

    Raises Unavailable before the ledger is upgraded, and Misconfigured, with instructions for an
    administrator, if the role is missing, cannot be set, or is not restricted.
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
            f"Row-level security does not bind the role {name}: it must not be a superuser, have BYPASSRLS, "
            f"or be a member of {owner}."
        )
    return str(found.name)


async def set_tenant(tx: AsyncConnection, role: str, tenant_id: UUID) -> None:
    """Bind the transaction to one tenant until it ends: one round trip, before any snapshot is taken."""
    words = sql.SQL("set local role {role}; set local {setting} = {tenant}").format(
        role=sql.Identifier(role),
        setting=sql.Identifier(*TENANT_SETTING.split(".")),
        tenant=sql.Literal(str(tenant_id)),
    )
    # Not prepared: PostgreSQL prepares single statements only, and these are two.
    await get_driver_connection(tx).execute(words, prepare=False)


def _quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
