"""What the clients of the benchmarks post: requests that are ready to be written to a socket."""

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
    """A request with a key: one event, or with several types a batch, each of so many bytes of data.

    What does not `arrive` is for endpoints that are stalled: nobody waits for it.
    """

    key: str
    types: Sequence[str]
    size: int
    is_delivered: bool = True

    def to_bytes(self, host: str) -> bytes:
        """The whole request."""
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
    """What to post, where, for how long, on how many connections; with a rate: so many a second.

    With `most_ahead` clients wait while more than so many accepted events have not reached the receiver.
    """

    host: str
    port: int
    seconds: float
    connections: int
    requests: Sequence[PostRequest]
    rate: float = 0.0
    answers_file: str = ""  # a file for the id and the moment of each answer
    receiver: int = 0  # its port
    max_undelivered: int = 0

    def write(self, path: Path) -> None:
        """Write it down for a client."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: str) -> LoadPlan:
        """Read what was written."""
        given: dict[str, Any] = json.loads(Path(path).read_text())
        return cls(**given | {"requests": [PostRequest(**request) for request in given["requests"]]})


def parse_content_length(head: bytes) -> int:
    """How many bytes follow a head of an answer."""
    at = head.lower().find(b"content-length: ") + 16
    return int(head[at:].split(b"\r\n", 1)[0])


async def read_answer(reader: asyncio.StreamReader) -> tuple[bool, bytes]:
    """Whether what was posted is accepted, and the answer's body."""
    head = await reader.readuntil(HEAD_END)
    body = await reader.readexactly(parse_content_length(head))
    return head.startswith(ACCEPTED), body
