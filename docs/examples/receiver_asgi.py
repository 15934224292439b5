"""A receiver for any ASGI server: `uvicorn receiver_asgi:application`, with SECRET in the environment."""

from __future__ import annotations

import os
from typing import Any

from waybill_client import VerificationError, verify

SECRET = os.environ["SECRET"]
MAX_BYTES = 1 << 20


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Verify the raw bytes; answer 204 to a valid signature, 400 otherwise."""
    if scope["type"] != "http":
        return
    body = bytearray()
    more = True
    while more and len(body) <= MAX_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    # In ASGI names and values of headers are bytes.
    headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
    status, content = 204, b""
    try:
        verified = verify(headers, bytes(body), SECRET)
    except VerificationError as error:
        status, content = 400, str(error).encode()
    else:
        print(f"verified {verified.message_id}", flush=True)
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": content})
