"""Traces as JSON documents, under the same names as in the HTTP API. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from delivery.cli import shapes
from delivery.model import Prefix, show_id

if TYPE_CHECKING:
    from delivery.cli.shapes import Shape
    from delivery.tracing import DeliveryTrace, EventTrace, Fate, Step


def delivery_trace(trace: DeliveryTrace) -> Shape:
    """Why a delivery is where it is."""
    return {
        "delivery": shapes.delivery(trace.delivery),
        "url": trace.url,
        "standing": trace.standing,
        "steps": [_step(step) for step in trace.steps],
        "left_out": list(trace.left_out),
    }


def event_trace(trace: EventTrace) -> Shape:
    """Why an event went where it went."""
    return {
        "event": shapes.event(trace.event),
        "standing": trace.standing,
        "endpoints": [_fate(fate) for fate in trace.endpoints],
        "made_later": trace.made_later,
        "left_out": list(trace.left_out),
    }


def _step(step: Step) -> Shape:
    return {
        "at": shapes.moment(step.at),
        "what": step.what,
        "sentence": step.sentence,
        "details": {name: _plain(value) for name, value in step.details.items()},
    }


def _fate(fate: Fate) -> Shape:
    delivery = fate.delivery
    return {
        "endpoint_id": show_id(Prefix.ENDPOINT, fate.endpoint_id),
        "url": fate.url,
        "verdict": fate.verdict,
        "sentence": fate.sentence,
        "filter": list(fate.filter),
        "channels": list(fate.channels),
        "condition": fate.condition,
        "pattern": fate.pattern,
        "condition_failed": fate.condition_failed,
        "delivery_id": None if delivery is None else show_id(Prefix.DELIVERY, delivery.id),
        "status": None if delivery is None else delivery.status,
    }


def _plain(value: object) -> object:
    return shapes.moment(value) if isinstance(value, datetime) else value
