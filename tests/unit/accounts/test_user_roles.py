"""What each role may do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from delivery.domain.accounts import Actor, Role
from delivery.domain.ids import TenantId, UserId, new_id
from delivery.services.accounts.roles import Ability, Principal, describe_role, get_abilities

SUPPORT = {Ability.SEE, Ability.REPLAY, Ability.OPERATE}


@pytest.mark.parametrize(
    ("role", "portal", "may"),
    [
        (Role.VIEWER, False, {Ability.SEE}),
        (Role.SUPPORT, False, SUPPORT),
        (Role.ADMIN, False, set(Ability)),
        (Role.VIEWER, True, {Ability.SEE}),
        (Role.SUPPORT, True, SUPPORT | {Ability.SECRETS}),
    ],
)
def test_each_role_has_exactly_these_abilities(role: Role, *, portal: bool, may: set[Ability]) -> None:
    assert get_abilities(role, portal=portal) == may


@pytest.mark.parametrize("role", Role)
def test_nobody_administers_by_a_link(role: Role) -> None:
    assert Ability.ADMINISTER not in get_abilities(role, portal=True)


@pytest.mark.parametrize("portal", [False, True])
def test_each_role_includes_the_one_below(*, portal: bool) -> None:
    viewer, support, admin = (get_abilities(role, portal=portal) for role in Role)
    assert viewer < support <= admin


def visitor(role: Role, *, person: bool) -> Principal:
    return Principal(
        Actor("x"),
        "x",
        role,
        None if person else TenantId(new_id()),
        datetime.now(UTC),
        UserId(new_id()) if person else None,
    )


def test_staff_support_does_not_rotate_secrets_and_a_partner_does_its_own() -> None:
    assert not visitor(Role.SUPPORT, person=True).has_ability(Ability.SECRETS)
    assert visitor(Role.SUPPORT, person=False).has_ability(Ability.SECRETS)


def test_roles_are_described_in_words() -> None:
    assert describe_role(Role.VIEWER) == "look"
    assert describe_role(Role.SUPPORT) == "look, replay, pause and resume endpoints"
    assert describe_role(Role.ADMIN) == "everything"
