"""The state transitions of an endpoint: pause, resume, disable, enable. Pure.

| | active | paused | disabled |
|---|---|---|---|
| pause | paused | another reason, if one is given | refused |
| resume | stays | active | refused: enable it |
| disable | disabled | disabled | another reason, if one is given |
| enable | stays | refused: resume it | active |
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from delivery.domain.endpoint import EndpointState
from delivery.domain.errors import Conflict
from delivery.domain.ids import Prefix, format_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.domain.endpoint import Endpoint


class StateTransition(StrEnum):
    """The transitions, by the actions in the journal."""

    PAUSE = "endpoint.paused"
    RESUME = "endpoint.resumed"
    DISABLE = "endpoint.disabled"
    ENABLE = "endpoint.enabled"


_TARGET_STATES: Final[Mapping[StateTransition, EndpointState]] = {
    StateTransition.PAUSE: EndpointState.PAUSED,
    StateTransition.RESUME: EndpointState.ACTIVE,
    StateTransition.DISABLE: EndpointState.DISABLED,
    StateTransition.ENABLE: EndpointState.ACTIVE,
}
_REFUSALS: Final[Mapping[tuple[StateTransition, EndpointState], str]] = {
    (
        StateTransition.PAUSE,
        EndpointState.DISABLED,
    ): "disabled: nothing goes out to it anyway. To pause it, enable it first",
    (StateTransition.RESUME, EndpointState.DISABLED): "disabled, not paused. Enable it",
    (StateTransition.ENABLE, EndpointState.PAUSED): "paused, not disabled. Resume it",
}
_NEXT_ACTIONS: Final[Mapping[EndpointState, str]] = {
    EndpointState.DISABLED: "enable",
    EndpointState.PAUSED: "resume",
}


def check_transition(endpoint: Endpoint, transition: StateTransition) -> None:
    """Raise Conflict, which says how to go on, if the endpoint's state forbids this transition."""
    if (refusal := _REFUSALS.get((transition, endpoint.state))) is not None:
        public_id = format_id(Prefix.ENDPOINT, endpoint.id)
        request = f"POST /v1/endpoints/{public_id}/{_NEXT_ACTIONS[endpoint.state]}"
        raise Conflict(f"The endpoint {public_id} is {refusal} ({request}).")


def apply_transition(
    endpoint: Endpoint, transition: StateTransition, *, reason: str | None, actor: str, now: datetime
) -> Endpoint | None:
    """The endpoint after this transition; None: nothing changes. Raises Conflict.

    A new reason for the same state changes its actor too; `state_changed_at` stays.
    """
    check_transition(endpoint, transition)
    target = _TARGET_STATES[transition]
    if endpoint.state is not target:
        return replace(endpoint, state=target, state_reason=reason, state_actor=actor, state_changed_at=now)
    if target is EndpointState.ACTIVE or reason in {None, endpoint.state_reason}:
        return None
    return replace(endpoint, state_reason=reason, state_actor=actor)
