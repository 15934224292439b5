"""Which endpoints an event reaches: by its type, then its channels, then what it holds. Pure.

This is the one place that decides it: accept, recovery, traces and trials ask here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.conditions import Answer, kept_condition
from delivery.filters import first_match

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from delivery.conditions import Answers


@dataclass(frozen=True, slots=True)
class Wants:
    """What an endpoint asks for: patterns of types, and what narrows them.

    No channels: events of any channel and of none. No condition: whatever they hold.
    """

    types: tuple[str, ...]
    channels: tuple[str, ...] = ()
    condition: str | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether its types alone do not tell what it gets."""
        return bool(self.channels) or self.condition is not None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an event is to an endpoint, part by part.

    `pattern` None: no pattern asks for its type. `answer` None: there is no condition, or nothing to ask
    it about.
    """

    pattern: str | None
    on_channel: bool
    answer: Answer | None

    @property
    def reaches(self) -> bool:
        """Whether the event is owed to the endpoint."""
        return self.pattern is not None and self.on_channel and (self.answer is None or self.answer.holds)


def judge(wants: Wants, event_type: str, channels: Sequence[str], answers: Answers | None) -> Judgement:
    """Judge each part by itself; without answers, as if the condition were met."""
    answer = None
    if wants.condition is not None and answers is not None:
        answer = answers.of(kept_condition(wants.condition))
    return Judgement(first_match(wants.types, event_type), shares_channel(wants.channels, channels), answer)


def shares_channel(wanted: Collection[str], channels: Sequence[str]) -> bool:
    """Whether an event of these channels is for who wants these; who names none wants all."""
    return not wanted or any(channel in wanted for channel in channels)
