"""Traces as JSON documents, under the same names as in the HTTP API. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from delivery.cli.output import json_shapes
from delivery.domain.ids import Prefix, format_id

if TYPE_CHECKING:
    from delivery.cli.output.json_shapes import Shape
    from delivery.services.timeline.delivery_entries import DeliveryTimeline
    from delivery.services.timeline.entries import TimelineEntry
    from delivery.services.timeline.event_entries import EventFate, EventTimeline


def delivery_trace(trace: DeliveryTimeline) -> Shape:
    """Why a delivery is where it is."""
    return {
        "delivery": json_shapes.delivery(trace.delivery),
        "url": trace.url,
        "standing": trace.summary,
        "steps": [_step(step) for step in trace.steps],
        "left_out": list(trace.left_out),
    }


def event_trace(trace: EventTimeline) -> Shape:
    """Why an event went where it went."""
    return {
        "event": json_shapes.event(trace.event),
        "standing": trace.summary,
        "endpoints": [_fate(fate) for fate in trace.endpoints],
        "made_later": trace.made_later,
        "left_out": list(trace.left_out),
    }


def _step(step: TimelineEntry) -> Shape:
    return {
        "at": json_shapes.moment(step.at),
        "what": step.kind,
        "sentence": step.sentence,
        "details": {name: _plain(value) for name, value in step.details.items()},
    }


def _fate(fate: EventFate) -> Shape:
    delivery = fate.delivery
    return {
        "endpoint_id": format_id(Prefix.ENDPOINT, fate.endpoint_id),
        "url": fate.url,
        "verdict": fate.verdict,
        "sentence": fate.sentence,
        "filter": list(fate.filter),
        "channels": list(fate.channels),
        "condition": fate.condition,
        "pattern": fate.pattern,
        "condition_failed": fate.condition_failed,
        "delivery_id": None if delivery is None else format_id(Prefix.DELIVERY, delivery.id),
        "status": None if delivery is None else delivery.status,
    }


def _plain(value: object) -> object:
    return json_shapes.moment(value) if isinstance(value, datetime) else value
