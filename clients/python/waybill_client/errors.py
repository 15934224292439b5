"""The errors of sending.

ClientError                  `accepted`: the results of earlier batches of send_many
├── Refused                  Waybill refused, and would again: status, type, title, the whole problem
│   ├── Invalid              a field is wrong (400, 415, 422)
│   ├── NotAuthenticated     the key is missing or unknown (401)
│   ├── NotAllowed           the key lacks the scope (403)
│   ├── NotFound             unknown tenant, or no Waybill at this address (404)
│   ├── Conflict             the idempotency key was used for another request (409)
│   └── TooLarge             too many bytes, events or deliveries (413)
├── GaveUp                   no final answer in time, accepted or not: send it again under its key
├── Unsendable               an event of send_many is not JSON, or the iterable raised: which one, and why
└── NotUnderstood            the answer is not Waybill's
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from waybill_client.events import Accepted


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 9457). `errors` names the invalid fields: `[{"field": …, "why": …}]`."""

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
    """Waybill refused the request; sending the same again will not help."""

    def __init__(self, problem: Problem) -> None:
        """Copy status, type and title from the problem."""
        self.problem = problem
        self.status = problem.status
        self.type = problem.type
        self.title = problem.title
        super().__init__(str(problem))


class Invalid(Refused):
    """A field is invalid; `problem.errors` names it."""


class NotAuthenticated(Refused):
    """The API key is missing or unknown."""


class NotAllowed(Refused):
    """The API key lacks the scope to send events."""


class NotFound(Refused):
    """The tenant is unknown, or Waybill is not at this address."""


class Conflict(Refused):
    """The idempotency key was used before, for another request."""


class TooLarge(Refused):
    """The request has more bytes, events or deliveries than Waybill accepts."""


class GaveUp(ClientError):
    """All tries failed without a final answer.

    The event may have been accepted and the answer lost. Sent again with this `idempotency_key`, it is still
    one event. `problem` is the last answer, None if there was none; `retry_after` is the requested wait.
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
        """Record the number of tries, and why the last one failed."""
        self.tries = tries
        self.idempotency_key = idempotency_key
        self.problem = problem
        self.retry_after = retry_after
        super().__init__(f"No final answer after {tries} {'try' if tries == 1 else 'tries'}: {why}")


class Unsendable(ClientError):
    """The event at `index` of `send_many` cannot be written as JSON, or its iterable raised.

    `__cause__` says why, `accepted` has the results of earlier batches; the rest was not sent. With the event
    corrected, the same call under this `idempotency_key` continues where it stopped.
    """

    def __init__(
        self, why: Exception, *, index: int, idempotency_key: str, accepted: Sequence[Accepted]
    ) -> None:
        """Record which event, and why."""
        self.index = index
        self.idempotency_key = idempotency_key
        self.accepted = tuple(accepted)
        super().__init__(f"Event {index} cannot be sent: {type(why).__name__}: {why}")

    @property
    def place(self) -> int:
        """The old name of `index`, for one release."""
        return self.index


class NotUnderstood(ClientError):
    """The answer is not Waybill's: another service listens at this address."""

    def __init__(self, status: int, body: bytes) -> None:
        """Keep the status and the start of the body."""
        self.status = status
        self.body = body[:200]
        super().__init__(f"The answer is not Waybill's: {status} {self.body!r}")


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
    """The error for a problem that a retry does not cure."""
    return _BY_STATUS.get(problem.status, Refused)(problem)
