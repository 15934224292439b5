"""What may be done to an endpoint's state, and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from delivery.domain.endpoint import Endpoint, EndpointState
from delivery.domain.errors import Conflict
from delivery.services.endpoints.states import StateTransition, apply_transition, check_transition
from tests.unit.cli.records import ENDPOINT

NOW = datetime(2026, 11, 22, 18, 27, tzinfo=UTC)
ACTIVE, PAUSED, DISABLED = EndpointState.ACTIVE, EndpointState.PAUSED, EndpointState.DISABLED

MOVES = {
    (StateTransition.PAUSE, ACTIVE): PAUSED,
    (StateTransition.RESUME, PAUSED): ACTIVE,
    (StateTransition.DISABLE, ACTIVE): DISABLED,
    (StateTransition.DISABLE, PAUSED): DISABLED,
    (StateTransition.ENABLE, DISABLED): ACTIVE,
}
STAYS = {
    (StateTransition.PAUSE, PAUSED),
    (StateTransition.RESUME, ACTIVE),
    (StateTransition.DISABLE, DISABLED),
    (StateTransition.ENABLE, ACTIVE),
}
REFUSED = {
    (StateTransition.PAUSE, DISABLED): "enable",
    (StateTransition.RESUME, DISABLED): "enable",
    (StateTransition.ENABLE, PAUSED): "resume",
}


def move(
    endpoint: Endpoint, how: StateTransition, *, reason: str | None = None, actor: str = "cli:bob"
) -> Endpoint | None:
    return apply_transition(endpoint, how, reason=reason, actor=actor, now=NOW)


def test_every_move_of_every_state_is_decided() -> None:
    assert set(product(StateTransition, EndpointState)) == MOVES.keys() | STAYS | REFUSED.keys()


@pytest.mark.parametrize(("how", "state"), MOVES)
def test_a_move_says_who_when_and_why(how: StateTransition, state: EndpointState) -> None:
    after = move(replace(ENDPOINT, state=state, state_reason="before"), how, reason="so")
    assert after is not None
    assert (after.state, after.state_actor, after.state_reason) == (MOVES[how, state], "cli:bob", "so")
    assert after.state_changed_at == NOW


@pytest.mark.parametrize(("how", "state"), MOVES)
def test_a_move_without_a_reason_keeps_none_of_before(how: StateTransition, state: EndpointState) -> None:
    after = move(replace(ENDPOINT, state=state, state_reason="before"), how)
    assert after is not None
    assert after.state_reason is None


@pytest.mark.parametrize(("how", "state"), sorted(STAYS))
def test_a_move_to_where_it_is_changes_nothing(how: StateTransition, state: EndpointState) -> None:
    assert move(replace(ENDPOINT, state=state), how) is None
    assert move(replace(ENDPOINT, state=state, state_reason="so"), how, reason="so") is None


@pytest.mark.parametrize(
    ("how", "state"), [(StateTransition.PAUSE, PAUSED), (StateTransition.DISABLE, DISABLED)]
)
def test_a_new_reason_is_its_authors_and_the_state_is_as_old_as_it_was(
    how: StateTransition, state: EndpointState
) -> None:
    before = replace(ENDPOINT, state=state, state_reason="before")
    assert move(before, how, reason="so") == replace(before, state_reason="so", state_actor="cli:bob")


def test_an_active_endpoint_is_given_no_reason_for_being_active() -> None:
    assert move(ENDPOINT, StateTransition.RESUME, reason="so") is None
    assert move(ENDPOINT, StateTransition.ENABLE, reason="so") is None


@pytest.mark.parametrize(("how", "state"), REFUSED)
def test_a_refusal_says_how_to_go_on(how: StateTransition, state: EndpointState) -> None:
    with pytest.raises(Conflict, match=rf"is {state}.*/{REFUSED[how, state]}\)"):
        move(replace(ENDPOINT, state=state), how)


@pytest.mark.parametrize(("how", "state"), [*MOVES, *sorted(STAYS)])
def test_what_is_not_refused_may_be_previewed(how: StateTransition, state: EndpointState) -> None:
    check_transition(replace(ENDPOINT, state=state), how)
