"""Allowed actions on an endpoint by its state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from delivery.console.pages.endpoint_actions import ENDPOINT_ACTIONS, list_allowed_actions
from delivery.domain.endpoint import EndpointState
from delivery.services.accounts.roles import Ability
from delivery.services.endpoints.states import StateTransition, check_transition
from tests.unit.cli.records import ENDPOINT

MOVES = [move.name.lower() for move in StateTransition]


@pytest.mark.parametrize("state", list(EndpointState))
def test_allowed_action_is_accepted(state: EndpointState) -> None:
    for name in set(list_allowed_actions(state)) & set(MOVES):
        check_transition(replace(ENDPOINT, state=state), StateTransition[name.upper()])


@pytest.mark.parametrize("state", list(EndpointState))
def test_allowed_action_has_a_page(state: EndpointState) -> None:
    assert set(list_allowed_actions(state)) <= {act.name for act in ENDPOINT_ACTIONS}


def test_operator_cannot_disable_or_delete() -> None:
    operated = {act.name for act in ENDPOINT_ACTIONS if act.ability is Ability.OPERATE}
    assert operated == {"pause", "resume", "enable"}
