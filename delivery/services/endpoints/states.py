"""What pausing, resuming, disabling and enabling make of an endpoint. Pure.

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

from delivery.errors import Conflict
from delivery.model import EndpointState, Prefix, show_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.model import Endpoint


class Move(StrEnum):
    """What a person may do to an endpoint's state; each is the journal's word for it."""

    PAUSE = "endpoint.paused"
    RESUME = "endpoint.resumed"
    DISABLE = "endpoint.disabled"
    ENABLE = "endpoint.enabled"


_AIMS: Final[Mapping[Move, EndpointState]] = {
    Move.PAUSE: EndpointState.PAUSED,
    Move.RESUME: EndpointState.ACTIVE,
    Move.DISABLE: EndpointState.DISABLED,
    Move.ENABLE: EndpointState.ACTIVE,
}
_REFUSED: Final[Mapping[tuple[Move, EndpointState], str]] = {
    (
        Move.PAUSE,
        EndpointState.DISABLED,
    ): "disabled: nothing goes out to it anyway. To pause it, enable it first",
    (Move.RESUME, EndpointState.DISABLED): "disabled, not paused. Enable it",
    (Move.ENABLE, EndpointState.PAUSED): "paused, not disabled. Resume it",
}
_WAYS_ON: Final[Mapping[EndpointState, str]] = {
    EndpointState.DISABLED: "enable",
    EndpointState.PAUSED: "resume",
}


def check_move(endpoint: Endpoint, move: Move) -> None:
    """Raise Conflict, which says how to go on, for a move that this endpoint's state forbids."""
    if (refused := _REFUSED.get((move, endpoint.state))) is not None:
        shown = show_id(Prefix.ENDPOINT, endpoint.id)
        way_on = f"POST /v1/endpoints/{shown}/{_WAYS_ON[endpoint.state]}"
        raise Conflict(f"The endpoint {shown} is {refused} ({way_on}).")


def moved(
    endpoint: Endpoint, move: Move, *, reason: str | None, actor: str, now: datetime
) -> Endpoint | None:
    """The endpoint after this move; None: nothing changes. Raises Conflict.

    A new reason for the same state is its author's, while the state goes on since when it began.
    """
    check_move(endpoint, move)
    aim = _AIMS[move]
    if endpoint.state is not aim:
        return replace(endpoint, state=aim, state_reason=reason, state_actor=actor, state_changed_at=now)
    if aim is EndpointState.ACTIVE or reason in {None, endpoint.state_reason}:
        return None
    return replace(endpoint, state_reason=reason, state_actor=actor)
