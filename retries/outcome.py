"""The outcome of one attempt: a closed set of values, their labels and their descriptions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, assert_never

if TYPE_CHECKING:
    from datetime import timedelta

_SUCCESS = range(200, 300)
_MAX_DETAIL_CHARS: Final = 200


class Phase(StrEnum):
    """How far an attempt had come when it timed out."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    SEND = "send"
    FIRST_BYTE = "first_byte"
    BODY = "body"
    TOTAL = "total"


class Fault(StrEnum):
    """Why there was no HTTP response at all."""

    DNS = "dns"
    REFUSED = "refused"
    RESET = "reset"
    TLS = "tls"
    PROTOCOL = "protocol"
    NETWORK = "network"
    TOKEN = "token"  # noqa: S105  a label, not a secret


@dataclass(frozen=True, slots=True)
class Delivered:
    """The endpoint answered 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The endpoint answered another status than 2xx; redirects are refusals too, since none is followed."""

    status: int
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt timed out in this phase."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Unreachable:
    """There was no HTTP response. `detail` is what the transport can add, in a few words."""

    kind: Fault
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Blocked:
    """The guard refused to dial this address of the endpoint's host; None: even before a lookup."""

    host: str
    address: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class CutShort:
    """The response ended before its declared length."""

    status: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """We stopped the attempt before it ended; whether it arrived is unknown."""


@dataclass(frozen=True, slots=True)
class ProxyFailed:
    """The operator's proxy gave us no connection, which says nothing about the endpoint."""

    detail: str = ""


Outcome = Delivered | Refused | TimedOut | Unreachable | Blocked | CutShort | Interrupted | ProxyFailed


def classify_status(status: int, retry_after: timedelta | None) -> Delivered | Refused:
    """Classify a status: 2xx is a success, any other is a refusal."""
    if status in _SUCCESS:
        return Delivered(status)
    return Refused(status, retry_after)


OUTCOME_NAMES: Final = frozenset(
    {
        "delivered",
        "refused",
        "timed_out",
        "unreachable",
        "blocked",
        "cut_short",
        "interrupted",
        "proxy_failed",
    }
)
# Outcomes on our side of the network, which say nothing about the endpoint.
INTERNAL_OUTCOMES: Final = ("interrupted", "proxy_failed")


def label_outcome(outcome: Outcome) -> str:  # noqa: PLR0911  one line per member of the closed set
    """Return the label of an outcome in metrics, logs and the ledger."""
    match outcome:
        case Delivered():
            return "delivered"
        case Refused():
            return "refused"
        case TimedOut():
            return "timed_out"
        case Unreachable():
            return "unreachable"
        case Blocked():
            return "blocked"
        case CutShort():
            return "cut_short"
        case Interrupted():
            return "interrupted"
        case ProxyFailed():
            return "proxy_failed"
        case _:
            assert_never(outcome)


def describe_outcome(outcome: Outcome) -> str:  # noqa: PLR0911  one line per member of the closed set
    """Describe an outcome in one sentence, for users who read the ledger."""
    match outcome:
        case Delivered(status):
            return f"The endpoint answered {_format_status(status)}."
        case Refused(status, retry_after):
            return f"The endpoint answered {_format_status(status)}{_format_requested_wait(retry_after)}."
        case TimedOut(phase):
            return f"The attempt timed out before {_PHASE_GOALS[phase]}."
        case Unreachable(kind, detail):
            return f"{_FAULT_SENTENCES[kind]}{_format_detail(detail)}."
        case Blocked(_, None, reason):
            return f"Nothing was dialled: {_escape_unprintable(reason).removesuffix('.')}."
        case Blocked(host, address, reason):
            return f"The address {address} of {_escape_unprintable(host)} may not be dialled: {reason}."
        case CutShort(status):
            return (
                f"The endpoint answered {_format_status(status)}, but the response broke off before its end."
            )
        case Interrupted():
            return "The attempt was stopped on our side before it ended."
        case ProxyFailed(detail):
            return f"The proxy on our side gave no connection to the endpoint{_format_detail(detail)}."
        case _:
            assert_never(outcome)


def describe_other_exchange(server: str, outcome: Outcome) -> str:
    """Describe an exchange with another server than the endpoint, without a full stop, for brackets."""
    return (
        describe_outcome(outcome)
        .replace("The endpoint", f"The {server}")
        .replace("the endpoint", f"the {server}")[:-1]
    )


_PHASE_GOALS: Final = {
    Phase.DNS: "the endpoint's name was resolved",
    Phase.CONNECT: "the endpoint accepted the connection",
    Phase.TLS: "the TLS handshake was done",
    Phase.SEND: "the endpoint had received the request",
    Phase.FIRST_BYTE: "the endpoint began to answer",
    Phase.BODY: "the endpoint had finished its answer",
    Phase.TOTAL: "the attempt was finished",
}

_FAULT_SENTENCES: Final = {
    Fault.DNS: "The endpoint's name could not be resolved",
    Fault.REFUSED: "The endpoint refused the connection",
    Fault.RESET: "The endpoint broke off the connection",
    Fault.TLS: "No trusted TLS connection to the endpoint could be made",
    Fault.PROTOCOL: "The endpoint's answer was not valid HTTP",
    Fault.NETWORK: "The endpoint could not be reached over the network",
    Fault.TOKEN: "The endpoint's token server gave no token",
}


def _format_status(status: int) -> str:
    """Format a status as `503 Service Unavailable`, or the bare number if it has no name."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _format_requested_wait(wait: timedelta | None) -> str:
    return "" if wait is None else f" and asked us to wait {wait.total_seconds():.0f} s"


def _format_detail(detail: str) -> str:
    """Put a detail in brackets, on one line and short: it may quote what a receiver sent."""
    one_line = _escape_unprintable(" ".join(detail.split()))
    return f" ({one_line})" if one_line else ""


def _escape_unprintable(text: str) -> str:
    """Shorten foreign text, and escape characters that could control a terminal or reverse the text."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text[:_MAX_DETAIL_CHARS]
    )
