"""What sending may come to. Each error carries facts.

ClientError                  `accepted`: of send_many, what earlier batches came to
├── Refused                  Waybill says no, and will again: status, type, title, the whole problem
│   ├── Invalid              a field is wrong (400, 415, 422)
│   ├── NotAuthenticated     no key, or none that is known (401)
│   ├── NotAllowed           the key may not do this (403)
│   ├── NotFound             no such tenant, or no Waybill at this address (404)
│   ├── Conflict             the idempotency key was used for something else (409)
│   └── TooLarge             more bytes, events or deliveries than are taken (413)
├── GaveUp                   no final answer in time: may be accepted or not; send it again under its key
├── Unsendable               of send_many: an event that JSON cannot say, or that could not be had: which one
└── NotUnderstood            who answered is not Waybill
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from delivery.client.wire import Accepted


@dataclass(frozen=True, slots=True)
class Problem:
    """Why not, after RFC 9457. `errors` names the fields at fault: `[{"field": …, "why": …}]`."""

    status: int
    type: str
    title: str
    detail: str = ""
    request_id: str = ""
    errors: Sequence[Mapping[str, str]] = ()

    def __str__(self) -> str:
        return f"{self.status} {self.title}" + (f": {self.detail}" if self.detail else "")


class ClientError(Exception):
    """Base of all errors of sending."""

    accepted: tuple[Accepted, ...] = ()


class Refused(ClientError):
    """Waybill refuses; sending the same again will not help."""

    def __init__(self, problem: Problem) -> None:
        """Keep the problem; its status, type and title are at hand."""
        self.problem = problem
        self.status = problem.status
        self.type = problem.type
        self.title = problem.title
        super().__init__(str(problem))


class Invalid(Refused):
    """A field is wrong; `problem.errors` names it."""


class NotAuthenticated(Refused):
    """No key was sent, or none that is known."""


class NotAllowed(Refused):
    """The key may not send events."""


class NotFound(Refused):
    """No such tenant, or nothing at this address."""


class Conflict(Refused):
    """The idempotency key was used before, for something else."""


class TooLarge(Refused):
    """More bytes, events or deliveries than Waybill takes."""


class GaveUp(ClientError):
    """Tried until patience ended, without a final answer.

    The event may have been accepted, and its answer lost: send it again with this `idempotency_key`, and it
    is one event. `problem` is what Waybill said last, None when it did not answer; `retry_after` is how long
    it asked to be left alone.
    """

    def __init__(
        self,
        why: str,
        *,
        tries: int,
        idempotency_key: str,
        problem: Problem | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        """Say how often it was tried, and why the last try failed."""
        self.tries = tries
        self.idempotency_key = idempotency_key
        self.problem = problem
        self.retry_after = retry_after
        super().__init__(f"No final answer after {tries} {'try' if tries == 1 else 'tries'}: {why}")


class Unsendable(ClientError):
    """The event at `place` of those given to `send_many` cannot be written as JSON, or was not to be had.

    The cause says why. What earlier requests came to is `accepted`; the others were not sent. With the event
    put right, the same call under this `idempotency_key` goes on where it stopped.
    """

    def __init__(
        self, why: Exception, *, place: int, idempotency_key: str, accepted: Sequence[Accepted]
    ) -> None:
        """Say which event, and why."""
        self.place = place
        self.idempotency_key = idempotency_key
        self.accepted = tuple(accepted)
        super().__init__(f"Event {place} cannot be sent: {type(why).__name__}: {why}")


class NotUnderstood(ClientError):
    """An answer that Waybill does not give: something else listens at this address."""

    def __init__(self, status: int, body: bytes) -> None:
        """Keep the status, and how the body begins."""
        self.status = status
        self.body = body[:200]
        super().__init__(f"An answer that is not Waybill's: {status} {self.body!r}")


_BY_STATUS = {
    400: Invalid,
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: Invalid,
    422: Invalid,
}


def build_refused(problem: Problem) -> Refused:
    """The error for a problem that asking again does not mend."""
    return _BY_STATUS.get(problem.status, Refused)(problem)
