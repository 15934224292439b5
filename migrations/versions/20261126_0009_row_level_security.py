"""PostgreSQL itself holds tenants apart: a role for their requests, and policies that bind it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from psycopg.errors import InsufficientPrivilege
from sqlalchemy.exc import DBAPIError

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TENANT = "nullif(current_setting('waybill.tenant', true), '')::uuid"
_OWN = f"tenant_id = {_TENANT}"

# By table: what a tenant's request may do, and to which rows.
_WALLS: Final = {
    "tenants": ("select, update", f"id = {_TENANT}"),
    "api_keys": ("select, insert, update", _OWN),
    "endpoints": ("select, insert, update", _OWN),
    "endpoint_secrets": ("select, insert, update", _OWN),
    "events": ("select, insert, update", _OWN),
    "deliveries": ("select, insert, update", _OWN),
    "attempts": ("select, update", _OWN),
    "journal": ("select, insert", _OWN),
    "failures": ("select, insert, delete", _OWN),
    "endpoint_sequence": (
        "select",
        "exists (select from endpoints e where e.id = endpoint_sequence.endpoint_id)",
    ),
    "schedule": ("select, insert, update, delete", _OWN),
    "claims": ("select", "exists (select from schedule s where s.claim_id = claims.id)"),
    "endpoint_health": (
        "select, insert, update",
        "exists (select from endpoints e where e.id = endpoint_health.endpoint_id)",
    ),
    "replays": ("select, insert, update", _OWN),
    "replay_items": ("select", "exists (select from replays r where r.id = replay_items.replay_id)"),
    "figures": ("select", _OWN),
    "figures_progress": ("select", "true"),
    "portal_links": ("select, insert", _OWN),
}
_OUT_OF_REACH: Final = ("idempotency_keys", "people", "sessions", "sign_in_failures")

# Roles belong to the whole server. This one is named after the tables' owner, so that two installations of
# different owners never share it.
_LOOK = sa.text("""
    select pg_get_userbyid(t.relowner) as owner, wanted.name, r.oid is not null as known,
           pg_has_role(t.relowner, r.oid,
                       case when current_setting('server_version_num')::int >= 160000
                            then 'set' else 'member' end) as may_put_on,
           has_schema_privilege(r.oid, t.relnamespace, 'usage') as may_enter,
           quote_ident(n.nspname) as place
    from pg_class t join pg_namespace n on n.oid = t.relnamespace
    cross join lateral (select left(pg_get_userbyid(t.relowner), 56) || '_tenant' as name) as wanted
    left join pg_roles r on r.rolname = wanted.name
    where t.oid = cast('tenants' as regclass)
""")
# Another database's migration may make the role at the same moment, or grant it.
_TRIES: Final = 5


def upgrade() -> None:
    """Table after table, each for a moment: nobody waits behind a lock on all of them."""
    with op.get_context().autocommit_block():
        role = _make_role()
        for table, (may, rows) in _WALLS.items():
            _wall(
                table,
                f"drop policy if exists tenants_apart on {table};"
                f"create policy tenants_apart on {table} using ({rows});"
                f"grant {may} on {table} to {role};",
            )
        for table in _OUT_OF_REACH:
            _wall(table, "")


def _wall(table: str, policy: str) -> None:
    """One statement, so one transaction: never a table whose rows are hidden and whose policy is missing."""
    op.execute(f"do $wall$ begin {policy} alter table {table} enable row level security; end $wall$")


def _make_role() -> str:
    """See to it that the role is there and the owner may put it on; its name, quoted."""
    role = owner = ""
    for left in reversed(range(_TRIES)):
        found = op.get_bind().execute(_LOOK).one()
        role, owner = map(_quoted, (found.name, found.owner))
        try:
            if not found.known:
                op.execute(f"create role {role} nologin")
            elif not found.may_put_on:
                op.execute(f"grant {role} to {owner}")
            elif not found.may_enter:
                op.execute(f"grant usage on schema {found.place} to {role}")
            else:
                return role
        except DBAPIError as error:
            if isinstance(error.orig, InsufficientPrivilege):
                raise SystemExit(_for_an_administrator(role, owner)) from None
            if not left:
                raise
    raise SystemExit(_for_an_administrator(role, owner))


def _for_an_administrator(role: str, owner: str) -> str:
    return (
        f"Tenants' requests are to run under a role of their own, and this account may not make it.\n"
        f"Have an administrator run, and then come back:\n\n"
        f"  create role {role} nologin;\n"
        f"  grant {role} to {owner};\n"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def downgrade() -> None:
    """Take the walls down. The role stays: other databases of this server may have it in use."""
    role = _quoted(op.get_bind().execute(_LOOK).one().name)
    for table in (*_WALLS, *_OUT_OF_REACH):
        op.execute(f"alter table {table} disable row level security")
        op.execute(f"drop policy if exists tenants_apart on {table}")
    for table in _WALLS:
        op.execute(f"revoke all on {table} from {role}")
