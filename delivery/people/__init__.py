"""STUB until the people branch is merged."""

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from delivery.errors import NotAuthenticated
from delivery.model import Actor, TenantId


class Ability(StrEnum):
    SEE = "see"
    REPLAY = "replay"
    OPERATE = "operate"
    SECRETS = "secrets"
    ADMINISTER = "administer"


@dataclass(frozen=True, slots=True)
class Visitor:
    actor: Actor
    name: str
    role: str
    tenant_id: TenantId | None
    expires_at: datetime
    person_id: object | None

    def may(self, ability: Ability) -> bool:
        return True


def csrf(token: str) -> str:
    return hmac.digest(token.encode(), b"csrf", "sha256").hex()


def csrf_matches(token: str, given: str) -> bool:
    return hmac.compare_digest(csrf(token), given)


class People:
    async def visitor(self, token: str, *, address=None) -> Visitor:
        if token != "stub":
            raise NotAuthenticated
        return Visitor(
            Actor("Ada Lovelace <ada@example.com>", address),
            "Ada Lovelace",
            "admin",
            None,
            datetime.now(UTC) + timedelta(hours=1),
            1,
        )

    async def sign_in(self, email, password, *, address=None):
        return "stub", await self.visitor("stub", address=address)

    async def sign_out(self, token): ...
    async def open_link(self, token, *, address=None):
        raise NotAuthenticated


class Whose:
    def __init__(self, ledger):
        self._ledger = ledger

    async def tenant_of(self, prefix, id_):
        from sqlalchemy import text

        table = {
            "dlv": "deliveries",
            "evt": "events",
            "att": "attempts",
            "ep": "endpoints",
            "rpl": "replays",
        }[prefix]
        async with self._ledger.transaction() as tx:
            row = (
                await tx.execute(text(f"select tenant_id from {table} where id = :id"), {"id": id_})
            ).one_or_none()
        from delivery.errors import NotFound
        from delivery.model import show_id

        if row is None:
            raise NotFound(table, show_id(prefix, id_))
        return TenantId(row.tenant_id)
