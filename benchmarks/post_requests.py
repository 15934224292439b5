"""Requests that the load generators post, and their plan."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

ACCEPTED = b"HTTP/1.1 202"
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class PostRequest:
    """A POST of one event, or of a batch with several types; `size` is the bytes of each event's data.

    `is_delivered` is false for stalled endpoints: nobody waits for these deliveries.
    """

    key: str
    types: Sequence[str]
    size: int
    is_delivered: bool = True

    def to_bytes(self, host: str) -> bytes:
        """The request as bytes."""
        events = [{"type": name, "data": {"filler": "x" * self.size}} for name in self.types]
        single = len(events) == 1
        path = "/v1/events" if single else "/v1/events/batch"
        body = json.dumps(events[0] if single else {"events": events}).encode()
        return (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What to post, where, for how long, on how many connections; `rate` is per second, 0: no fixed rate.

    With `max_undelivered`, clients wait while more accepted events than that have not reached the receiver.
    """

    host: str
    port: int
    seconds: float
    connections: int
    requests: Sequence[PostRequest]
    rate: float = 0.0
    answers_file: str = ""  # receives the id and the time of each answer
    receiver: int = 0  # its port
    max_undelivered: int = 0

    def write(self, path: Path) -> None:
        """Write the plan for a client."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: str) -> LoadPlan:
        """Read a written plan."""
        plan: dict[str, Any] = json.loads(Path(path).read_text())
        return cls(**plan | {"requests": [PostRequest(**request) for request in plan["requests"]]})


def parse_content_length(head: bytes) -> int:
    """The length of the body after this head."""
    at = head.lower().find(b"content-length: ") + 16
    return int(head[at:].split(b"\r\n", 1)[0])


async def read_answer(reader: asyncio.StreamReader) -> tuple[bool, bytes]:
    """Read an answer: whether the request was accepted, and the body."""
    head = await reader.readuntil(HEAD_END)
    body = await reader.readexactly(parse_content_length(head))
    return head.startswith(ACCEPTED), body
