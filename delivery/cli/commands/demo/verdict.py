"""What the ledger and the receivers say in the end, and whether anything is missing. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta

    from delivery.cli.commands.demo.client import Owed

HELD = frozenset({"pending", "in_flight", "failed"})


@dataclass(frozen=True, slots=True)
class Account:
    """One receiver's side and the ledger's side of the same deliveries. `verified` counts by event id."""

    name: str
    down: bool
    refused: int
    forged: int
    verified: Mapping[str, int]
    owed: Sequence[Owed]

    def count(self, *statuses: str) -> int:
        """How many deliveries stand so in the ledger."""
        return sum(one.status in statuses for one in self.owed)

    @property
    def attempts(self) -> int:
        """How many attempts the ledger has for them."""
        return sum(one.attempts for one in self.owed)

    def latency(self, share: float) -> timedelta | None:
        """The time from accept to success that this share of the deliveries stayed within."""
        took = sorted(one.took for one in self.owed if one.took is not None)
        return took[min(len(took) - 1, int(share * len(took)))] if took else None


def missing(accounts: Sequence[Account], accepted: Sequence[str], *, published: int) -> list[str]:
    """What should be and is not, one sentence each; nothing when all is well."""
    return list(_missing(accounts, accepted, published))


def _missing(accounts: Sequence[Account], accepted: Sequence[str], published: int) -> Iterator[str]:
    if len(set(accepted)) != published:
        yield f"{published} events were published and {len(set(accepted))} accepted."
    for account in accounts:
        owed = [one.event_id for one in account.owed]
        if lost := set(accepted) - set(owed):
            yield f"{account.name}: the ledger has no delivery for {_some(lost)}."
        if len(owed) != len(set(owed)):
            yield f"{account.name}: the ledger has {len(owed)} deliveries for {len(set(owed))} events."
        yield from _unexplained(account) if account.down else _undelivered(account, accepted)


def _undelivered(account: Account, accepted: Sequence[str]) -> Iterator[str]:
    if unseen := [event_id for event_id in accepted if not account.verified.get(event_id)]:
        yield f"{account.name}: no verified delivery arrived of {_some(unseen)}."
    if account.forged:
        yield f"{account.name}: {account.forged} signatures did not verify."
    if unfinished := [one.event_id for one in account.owed if one.status != "succeeded"]:
        yield f"{account.name}: the ledger does not call delivered {_some(unfinished)}."
    if (least := account.refused + sum(account.verified.values())) > account.attempts:
        yield f"{account.name}: {account.attempts} attempts are recorded, and {least} were seen."


def _unexplained(account: Account) -> Iterator[str]:
    if wrong := [one.event_id for one in account.owed if one.status not in HELD]:
        yield f"{account.name}: it is down, and yet the ledger does not hold {_some(wrong)}."
    if silent := [one.event_id for one in account.owed if not one.held and not (one.attempts and one.why)]:
        yield f"{account.name}: the ledger does not say why it waits with {_some(silent)}."


def _some(event_ids: Sequence[str] | set[str]) -> str:
    first, *others = sorted(event_ids)
    return first if not others else f"{first} and {len(others)} more"
