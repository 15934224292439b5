"""A receiver for any ASGI server: `uvicorn receiver_asgi:application`, with SECRET in the environment."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from signing import VerificationError, verify

SECRET = os.environ["SECRET"]
MOST_BYTES = 1 << 20


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Verify the exact bytes that came; answer 204 to what verifies, 400 to anything else."""
    if scope["type"] != "http":
        return
    body = bytearray()
    more = True
    while more and len(body) <= MOST_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    # ASGI hands names and values over as bytes.
    headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
    status, said = 204, b""
    try:
        verified = verify(headers, bytes(body), SECRET, now=datetime.now(UTC))
    except VerificationError as error:
        status, said = 400, str(error).encode()
    else:
        print(f"verified {verified.message_id}", flush=True)
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": said})
