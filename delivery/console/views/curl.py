"""An attempt's request as a `curl` command, to repeat it by hand. Pure."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from delivery.domain.attempt import Attempt


def build_curl_command(attempt: Attempt, body: bytes | None) -> str | None:
    """Build the command; None if the body is not stored or is not text.

    Headers stored without their values appear redacted, to be filled in.
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
