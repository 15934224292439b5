"""A receiver for any WSGI server: `gunicorn receiver_wsgi:application`, with SECRET in the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from waybill_client import VerificationError, verify

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

SECRET = os.environ["SECRET"]
NAMES = {
    "HTTP_WEBHOOK_ID": "webhook-id",
    "HTTP_WEBHOOK_TIMESTAMP": "webhook-timestamp",
    "HTTP_WEBHOOK_SIGNATURE": "webhook-signature",
}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Verify the raw bytes; answer 204 to a valid signature, 400 otherwise."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    headers = {name: environ[key] for key, name in NAMES.items() if key in environ}
    try:
        verified = verify(headers, body, SECRET)
    except VerificationError as error:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [str(error).encode()]
    print(f"verified {verified.message_id}", flush=True)
    start_response("204 No Content", [])
    return []
