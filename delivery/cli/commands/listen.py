"""`waybill listen`: a local receiver that prints the webhooks it gets."""

import signal
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import Annotated, Final

import msgspec
import typer

from delivery.cli.listener import CapturedRequest, ListenReceiver, ReplyOptions, make_server
from delivery.cli.options.auth import read_secret_source
from delivery.cli.options.common import JsonOption
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import print_indented, print_text
from delivery.cli.runtime import UsageError
from delivery.domain.durations import format_rfc3339, format_utc
from delivery.domain.sanitize import escape_control_chars_in_json
from signing.secrets import PUBLIC_PREFIX, MalformedSecret, parse_public_key, parse_secret

EXAMPLES = format_examples(
    "waybill listen --secret @secret.txt",
    "waybill listen --secret @secret.txt --fail-first 2     # to see retries",
    "waybill listen --status 503 --retry-after 30",
    "waybill listen --port 9000 --json | jq .event.data",
)
_PRINT_LOCK = threading.Lock()
_MAX_SHOWN_BYTES: Final = 4_096


app = typer.Typer()


@app.command("listen", epilog=EXAMPLES)
def listen(  # noqa: PLR0913, PLR0917  one for each option
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0: any free port.")] = 9000,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="@FILE",
            help="The endpoint's secret, from @file or -. Repeatable during a rotation. Without one, "
            "nothing is verified.",
        ),
    ] = None,
    status: Annotated[int, typer.Option(min=200, max=599, help="The status of its answers.")] = 204,
    delay: Annotated[
        float, typer.Option(min=0, max=600, metavar="SECONDS", help="Delay before each answer.")
    ] = 0,
    retry_after: Annotated[
        int | None,
        typer.Option(min=0, metavar="SECONDS", help="A Retry-After header for answers other than 2xx."),
    ] = None,
    fail_first: Annotated[
        int, typer.Option(min=0, metavar="TIMES", help="Answer each message's first requests with 500.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Receive webhooks on this machine and print them, until Ctrl-C.

    Requests with a bad signature are answered 400, with the reason. It needs no engine and no settings.
    To reach it, an engine needs WAYBILL_ALLOW_HTTP=true and WAYBILL_ALLOW_NETWORKS=127.0.0.0/8, as
    `waybill dev` sets them.
    """
    secrets = tuple(read_secret_source(source) for source in secret or ())
    _check_secrets(secrets)
    listener = ListenReceiver(ReplyOptions(secrets, status, delay, retry_after, fail_first))
    try:
        server = make_server(listener, host, port, _print_request_json if json else _print_request)
    except OSError as error:
        raise UsageError(f"Cannot listen on {host}:{port}: {error.strerror}.") from None
    _stop_on_signals(server)
    if not json:
        print_text(f"Listening on http://{host}:{server.server_address[1]}/; Ctrl-C stops it.", style="bold")
        if not secrets:
            print_text("Nothing is verified: no --secret was given.")
    with server:
        server.serve_forever(poll_interval=0.1)
    if not json:
        forged = f"{listener.forged} refused as forged"
        print_text(f"{listener.requests} received, {listener.verified} verified, {forged}.")


def _check_secrets(secrets: tuple[str, ...]) -> None:
    """Raise UsageError for a malformed secret now, not at the first request."""
    for secret in secrets:
        try:
            parse_public_key(secret) if secret.startswith(PUBLIC_PREFIX) else parse_secret(secret)
        except MalformedSecret as error:
            raise UsageError(f"--secret: {error}") from None


def _stop_on_signals(http_server: ThreadingHTTPServer) -> None:
    """End `serve_forever` on SIGTERM and Ctrl-C. `shutdown` blocks, so it needs a thread."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=http_server.shutdown).start())


def _print_request(request: CapturedRequest) -> None:
    event_type, body = _parse_event(request)
    mark = {True: "✓ verified", False: "✗ refused", None: "unverified"}[request.verified]
    again = f", for the {request.times}. time" if request.times > 1 else ""
    with _PRINT_LOCK:
        print_text(
            f"{format_utc(request.at)}  {mark}  {event_type}  {request.message_id}{again} → {request.status}",
            style="bold",
        )
        if request.verification_error is not None:
            print_text(f"  {request.verification_error}")
        print_indented(body, indent=2)
        sys.stdout.flush()


def _parse_event(request: CapturedRequest) -> tuple[str, str]:
    """The event type in a body, and the body in a readable form."""
    try:
        pretty = msgspec.json.format(request.body, indent=2).decode()
        document = msgspec.json.decode(request.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "no JSON", request.body[:_MAX_SHOWN_BYTES].decode(errors="replace")
    # A binary CloudEvent names its type in a header: its body is the data alone.
    named_type = document.get("type") if isinstance(document, dict) else None
    event_type = request.headers.get("ce-type", named_type)
    return event_type if isinstance(event_type, str) else "no type", pretty


def _print_request_json(request: CapturedRequest) -> None:
    try:
        data: object = msgspec.json.decode(request.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        data = None
    line = {
        "at": format_rfc3339(request.at),
        "message_id": request.message_id,
        "times": request.times,
        "verified": request.verified,
        "flaw": request.verification_error,
        "status": request.status,
        "path": request.path,
        "headers": request.headers,
        "body": request.body.decode(errors="replace"),
        "event": data,
    }
    with _PRINT_LOCK:
        print(escape_control_chars_in_json(msgspec.json.encode(line).decode()), flush=True)
