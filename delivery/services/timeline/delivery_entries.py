"""The trace of one delivery: everything that happened to it, in order of time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.model import EndpointState, Prefix, show_id
from delivery.moments import exact
from delivery.tracing.of_attempts import of_attempts
from delivery.tracing.sentences import not_answered, of_entry, sentence, state_reason, who, why
from delivery.tracing.standing import standing
from delivery.tracing.steps import Step, What
from delivery.tracing.story import TEST_TYPE, still_on
from retries.breaker import BreakerState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from delivery.holding import Situation
    from delivery.ledger.journal import Entry
    from delivery.model import Delivery
    from delivery.tracing.story import Story

_STATES: Final = frozenset({What.PAUSED, What.RESUMED, What.DISABLED, What.ENABLED})
_BREAKER: Final = frozenset({What.BREAKER_OPENED, What.BREAKER_STAYED_OPEN, What.BREAKER_CLOSED})


@dataclass(frozen=True, slots=True)
class DeliveryTrace:
    """Why a delivery is where it is: its steps, oldest first, and in one sentence where it stands now.

    `url` is where its endpoint leads now. `left_out` says what is not told of: the answer is bounded.
    """

    delivery: Delivery
    url: str
    standing: str
    steps: tuple[Step, ...]
    left_out: tuple[str, ...]


def trace(story: Story) -> DeliveryTrace:
    """Put the trace of a delivery together."""
    delivery, made = story.delivery, story.delivery.created_at
    on = [_of_endpoint(entry) for entry in still_on(story.before, at=made)]
    from_rows = list(_not_in_the_journal(story))
    on += [step for step in from_rows if step.at < made]
    on.sort(key=lambda step: step.at)
    later = [
        *of_attempts(story),
        *(_of_endpoint(entry) for entry in story.meanwhile),
        *(step for step in from_rows if step.at >= made),
        *(_asked(entry) for entry in story.asked),
    ]
    # The beginning stays before what follows, also where the clocks of two machines differ a little.
    later.sort(key=lambda step: max(step.at, made))
    steps = (*on, *_beginning(delivery), *later, *_finished(delivery))
    return DeliveryTrace(delivery, story.url, standing(story), steps, story.left_out)


def _beginning(delivery: Delivery) -> Iterator[Step]:
    of_event = {"event_id": show_id(Prefix.EVENT, delivery.event_id), "event_type": delivery.event_type}
    accepted = f"The event {of_event['event_id']} of type {delivery.event_type} was accepted."
    yield Step(delivery.created_at, What.ACCEPTED, accepted, of_event)
    to_endpoint = {"endpoint_id": show_id(Prefix.ENDPOINT, delivery.endpoint_id)}
    told = f"It is owed to the endpoint {to_endpoint['endpoint_id']}, {matched(delivery)}."
    details = {**to_endpoint, "pattern": delivery.matched_by}
    if delivery.condition_failed is not None:
        details["condition_failed"] = delivery.condition_failed
    yield Step(delivery.created_at, What.MATCHED, told, details)


def matched(delivery: Delivery) -> str:
    """Why the delivery was made, as what follows `it is owed to the endpoint`."""
    if delivery.matched_by is not None:
        asked_for = f"whose filter asks for {delivery.matched_by}"
        return asked_for + not_answered(delivery)
    if delivery.event_type == TEST_TYPE:
        return "to which it was sent by name"
    return "to which it was sent by name or before patterns were kept"


def _not_in_the_journal(story: Story) -> Iterator[Step]:
    """Holds that are on now and of which only the endpoint's own rows tell."""
    situation = story.situation
    if situation is None or story.delivery.finished_at is not None:
        return
    for step, words in ((_of_state(situation), _STATES), (_of_breaker(situation), _BREAKER)):
        if step is not None and not _is_told(step, story, words):
            yield step


def _is_told(step: Step, story: Story, words: Collection[What]) -> bool:
    """Whether the journal's last word of this kind says that a hold began."""
    told = [What.of(entry.what) for entry in (*story.before, *story.meanwhile)]
    last = next((what for what in reversed(told) if what in words), None)
    return last is step.what or last is What.BREAKER_STAYED_OPEN


def _of_state(situation: Situation) -> Step | None:
    if situation.state is EndpointState.ACTIVE:
        return None
    what = What.PAUSED if situation.state is EndpointState.PAUSED else What.DISABLED
    by = f" by {who(situation.state_actor)}" if situation.state_actor else ""
    told = sentence(f"The endpoint was {situation.state}{by}{state_reason(situation.state_reason)}")
    details = {"actor": situation.state_actor, "reason": situation.state_reason}
    return Step(situation.state_changed_at, what, told, details)


def _of_breaker(situation: Situation) -> Step | None:
    if situation.health is None or situation.health.breaker.state is BreakerState.CLOSED:
        return None
    breaker = situation.health.breaker
    probe = "" if breaker.probe_at is None else f"; the next probe may go out at {exact(breaker.probe_at)}"
    told = f"The endpoint's circuit breaker opened{probe}."
    return Step(breaker.since, What.BREAKER_OPENED, told, {"probe_at": breaker.probe_at})


def _of_endpoint(entry: Entry) -> Step:
    details = {"actor": entry.actor, "reason": entry.reason, **entry.details}
    what = What.of(entry.what)
    more = {"entry": entry.what} if what is What.OTHER else {}
    return Step(entry.at, what, of_entry(entry), {**details, **more})


def _asked(entry: Entry) -> Step:
    what = What.of(entry.what)
    if what not in {What.RETRIED, What.REPLAYED}:
        return _of_endpoint(entry)
    was = str(entry.details.get("was", "")).replace("_", " ")
    because = f", because: {entry.reason}" if entry.reason else ""
    job = f", with {entry.details['replay_id']}" if "replay_id" in entry.details else ""
    told = f"Replayed by {who(entry.actor)}{job}{because}" + (f"; it was {was}" if was else "")
    return Step(
        entry.at, what, sentence(told), {"actor": entry.actor, "reason": entry.reason, **entry.details}
    )


def _finished(delivery: Delivery) -> Iterator[Step]:
    if delivery.finished_at is None:
        return
    reason = delivery.reason
    told = f"{delivery.status.capitalize()}" + ("" if reason is None else f": {why(reason)}")
    details = {"status": delivery.status, "reason": reason}
    yield Step(delivery.finished_at, What.FINISHED, sentence(told), details)
