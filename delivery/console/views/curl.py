"""A request of ours as a `curl` line, so that it can be made again by hand. Pure."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from delivery.domain.attempt import Attempt


def build_curl_command(attempt: Attempt, body: bytes | None) -> str | None:
    """The line; None when the body is not kept, or is no text.

    Headers that the ledger keeps without their values stand there so, to be filled in.
    """
    if body is None:
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    parts = [f"curl --request POST {quote(attempt.url)}"]
    parts += [f"--header {quote(f'{name}: {value}')}" for name, value in attempt.request_headers.items()]
    parts.append(f"--data-binary {quote(text)}")
    return " \\\n  ".join(parts)
