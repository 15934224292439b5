"""How a delivery and its attempts are shown to people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.cli.screen import Column, print_facts, print_indented, print_table, say
from delivery.model import Prefix, show_id
from delivery.wording import exact, length, short, standing, told_no_body, why

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.deliveries import AttemptTold
    from delivery.model import Attempt, Delivery, Endpoint, Timings

_MOST_BODY: Final = 2_000


@dataclass(frozen=True, slots=True)
class History:
    """A delivery with its endpoint (None: deleted) and its attempts, oldest first."""

    delivery: Delivery
    endpoint: Endpoint | None
    attempts: Sequence[Attempt]


def print_history(history: History, *, now: datetime) -> None:
    """Print where a delivery stands and why, and every attempt with what followed from it."""
    one, endpoint, tried = history.delivery, history.endpoint, history.attempts
    reason = one.reason or (tried[-1].reason if tried else None)
    print_facts(
        [
            ("status", standing(one, endpoint, now=now)),
            ("reason", "" if reason is None else why(reason)),
            ("event", f"{show_id(Prefix.EVENT, one.event_id)}  {one.event_type}"),
            ("endpoint", show_id(Prefix.ENDPOINT, one.endpoint_id)),
            ("", "(deleted)" if endpoint is None else endpoint.url),
            ("made", exact(one.created_at)),
            ("next due", "" if one.due_at is None else exact(one.due_at)),
            ("ended", "" if one.finished_at is None else exact(one.finished_at)),
        ],
        title=f"Delivery {show_id(Prefix.DELIVERY, one.id)}",
    )
    say("")
    if not tried:
        say("No attempt was made yet.")
        return
    _print_attempts(tried)


def print_attempt(told: AttemptTold) -> None:
    """Print one exchange with its bodies."""
    attempt = told.attempt
    due = "" if attempt.next_due_at is None else f", due {exact(attempt.next_due_at)}"
    print_facts(
        [
            ("outcome", f"{attempt.outcome}: {attempt.detail}"),
            ("decision", f"{_decision(attempt)}{due}"),
            ("reason", why(attempt.reason)),
            ("delivery", f"{show_id(Prefix.DELIVERY, attempt.delivery_id)}, attempt {attempt.number}"),
            ("started", exact(attempt.started_at)),
            ("took", _spent(attempt.timings)),
            ("url", attempt.url),
            ("address", attempt.address or "none was dialled"),
            ("signed by", ", ".join(f"key {key_id}" for key_id in attempt.key_ids)),
            ("worker", attempt.worker),
            ("erased", "" if attempt.erased_at is None else exact(attempt.erased_at)),
        ],
        title=f"Attempt {show_id(Prefix.ATTEMPT, attempt.id)}",
    )
    _print_message("Request", list(attempt.request_headers.items()), told.body, told_no_body(told.no_body))
    if attempt.status is None:
        say("")
        say("No response came.")
        return
    title = f"Response {attempt.status}"
    none = "No body." if attempt.erased_at is None else "Its headers and its body were erased."
    _print_message(title, list(attempt.response_headers), attempt.response_body, none)
    if attempt.response_truncated:
        print_indented("(the rest was not read)", by=2, style="dim")


def _print_attempts(tried: Sequence[Attempt]) -> None:
    print_table(
        [
            Column("#", number=True),
            Column("STARTED (UTC)"),
            Column("TOOK", number=True),
            Column("OUTCOME"),
            Column("STATUS"),
            Column("THEN"),
            Column("ATTEMPT", extra=True),
        ],
        [
            (
                str(one.number),
                short(one.started_at),
                "" if one.timings.total is None else length(one.timings.total),
                one.outcome,
                "" if one.status is None else str(one.status),
                _decision(one) + ("" if one.next_due_at is None else f" {short(one.next_due_at)}"),
                show_id(Prefix.ATTEMPT, one.id),
            )
            for one in tried
        ],
        none="",
    )
    say("")
    for one in tried:
        print_indented(f"{one.number}. {one.detail} {why(one.reason)}", by=1)
    last = tried[-1]
    say("")
    whose = f"--tenant {show_id(Prefix.TENANT, last.tenant_id)}"
    say(f"All of the last one: waybill attempt show {whose} {show_id(Prefix.ATTEMPT, last.id)}", style="dim")


def _print_message(title: str, headers: Sequence[tuple[str, str]], body: bytes | None, none: str) -> None:
    say("")
    print_facts(headers, title=title)
    if not body:
        print_indented(none, by=2, style="dim")
        return
    say("")
    shown = body[:_MOST_BODY].decode(errors="replace")
    print_indented(shown, by=2)
    if len(body) > _MOST_BODY:
        print_indented(f"… {len(body) - _MOST_BODY:,} bytes more; --json has them", by=2, style="dim")


def _decision(attempt: Attempt) -> str:
    return attempt.decision.replace("_", " ")


def _spent(timings: Timings) -> str:
    """Where the time went, as far as it was seen."""
    if timings.total is None:
        return ""
    steps = [("dns", timings.dns), ("connect", timings.connect), ("tls", timings.tls)]
    steps.append(("first byte", timings.first_byte))
    seen = ", ".join(f"{name} {length(taken)}" for name, taken in steps if taken is not None)
    return length(timings.total) + (f" ({seen})" if seen else "")
