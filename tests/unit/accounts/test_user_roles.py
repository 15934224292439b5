"""Who may do what."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from delivery.model import Actor, PersonId, TenantId, new_id
from delivery.people import Ability, Role, Visitor, abilities_of, in_words

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
def test_each_role_may_do_exactly_this(role: Role, *, portal: bool, may: set[Ability]) -> None:
    assert abilities_of(role, portal=portal) == may


@pytest.mark.parametrize("role", Role)
def test_nobody_administers_by_a_link(role: Role) -> None:
    assert Ability.ADMINISTER not in abilities_of(role, portal=True)


@pytest.mark.parametrize("portal", [False, True])
def test_each_role_may_do_all_that_the_one_below_may(*, portal: bool) -> None:
    viewer, support, admin = (abilities_of(role, portal=portal) for role in Role)
    assert viewer < support <= admin


def visitor(role: Role, *, person: bool) -> Visitor:
    return Visitor(
        Actor("x"),
        "x",
        role,
        None if person else TenantId(new_id()),
        datetime.now(UTC),
        PersonId(new_id()) if person else None,
    )


def test_staff_support_does_not_rotate_secrets_and_a_partner_does_its_own() -> None:
    assert not visitor(Role.SUPPORT, person=True).may(Ability.SECRETS)
    assert visitor(Role.SUPPORT, person=False).may(Ability.SECRETS)


def test_what_a_role_may_do_is_said_in_words() -> None:
    assert in_words(Role.VIEWER) == "look"
    assert in_words(Role.SUPPORT) == "look, replay, pause and resume endpoints"
    assert in_words(Role.ADMIN) == "everything"
