"""Replays as JSON documents, under the same names as in the HTTP API. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.cli.output.json_shapes import Shape, delivery, held, moment
from delivery.domain.ids import Prefix, format_id
from delivery.domain.replay import ItemState, MissingEventFilter

if TYPE_CHECKING:
    from delivery.domain.replay import Replay, ReplayItem
    from delivery.services.replays.validation import ReplayPreview


def replay(one: Replay) -> Shape:
    """A replay, and how far it is."""
    is_missing, document = isinstance(one.selection, MissingEventFilter), one.selection.to_document()
    return {
        "id": format_id(Prefix.REPLAY, one.id),
        "tenant_id": format_id(Prefix.TENANT, one.tenant_id),
        "state": one.state,
        "selection": None if is_missing else document,
        "missing": document if is_missing else None,
        "reason": one.reason,
        "actor": one.actor.name,
        "rate": one.rate,
        "hold": one.hold,
        "progress": progress(one),
        "created_at": moment(one.created_at),
        "finished_at": moment(one.finished_at),
    }


def progress(one: Replay) -> Shape:
    """How far a replay is."""
    return {
        "selecting": one.selecting,
        "selected": one.selected,
        **{state.value: one.counts.get(state, 0) for state in ItemState},
        "done": one.done,
        "remaining": one.remaining,
        "per_second": _rounded(one.per_second),
        "seconds_left": _rounded(one.seconds_left),
        "as_of": moment(one.counted_at),
    }


def item(one: ReplayItem) -> Shape:
    """One delivery of a replay."""
    return {
        "delivery_id": None if one.delivery_id is None else format_id(Prefix.DELIVERY, one.delivery_id),
        "event_id": format_id(Prefix.EVENT, one.event_id),
        "endpoint_id": format_id(Prefix.ENDPOINT, one.endpoint_id),
        "state": one.state,
        "why": one.reason,
        "changed_at": moment(one.changed_at),
    }


def preview(one: ReplayPreview) -> Shape:
    """What a replay would send."""
    return {
        "count": one.count,
        "exact": one.exact,
        "by_status": dict(one.by_status),
        "oldest": moment(one.oldest),
        "newest": moment(one.newest),
        "deliveries": [delivery(each) for each in one.deliveries],
        "events": [
            {
                "id": format_id(Prefix.EVENT, each.id),
                "type": each.type,
                "created_at": moment(each.created_at),
            }
            for each in one.events
        ],
        "endpoints": [
            {
                "id": format_id(Prefix.ENDPOINT, endpoint.id),
                "url": endpoint.url,
                "state": endpoint.state,
                "held": held(holds),
            }
            for endpoint, holds in one.endpoints
        ],
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)
