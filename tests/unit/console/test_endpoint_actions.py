"""What may be done to an endpoint, by its state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from delivery.console.pages.endpoint_acts import ACTS, possible
from delivery.endpoints.states import Move, check_move
from delivery.model import EndpointState
from delivery.people import Ability
from tests.unit.cli.records import ENDPOINT

MOVES = [move.name.lower() for move in Move]


@pytest.mark.parametrize("state", list(EndpointState))
def test_what_is_possible_is_not_refused(state: EndpointState) -> None:
    for name in set(possible(state)) & set(MOVES):
        check_move(replace(ENDPOINT, state=state), Move[name.upper()])


@pytest.mark.parametrize("state", list(EndpointState))
def test_what_is_possible_has_a_page(state: EndpointState) -> None:
    assert set(possible(state)) <= {act.name for act in ACTS}


def test_who_operates_neither_disables_nor_deletes() -> None:
    operated = {act.name for act in ACTS if act.ability is Ability.OPERATE}
    assert operated == {"pause", "resume", "enable"}
