"""`waybill listen`: a receiver for one's own machine, that shows what comes."""

import signal
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import Annotated, Final

import msgspec
import typer

from delivery.cli.auth_options import elsewhere
from delivery.cli.door import WrongUsage
from delivery.cli.listening import Heard, Listener, Manner, server
from delivery.cli.options import AsJson, examples
from delivery.cli.screen import print_indented, say
from delivery.moments import exact, rfc3339
from delivery.taming import tame_json
from signing.secrets import PUBLIC_PREFIX, MalformedSecret, parse_public_key, parse_secret

EXAMPLES = examples(
    "waybill listen --secret @secret.txt",
    "waybill listen --secret @secret.txt --fail-first 2     # to see retries",
    "waybill listen --status 503 --retry-after 30",
    "waybill listen --port 9000 --json | jq .event.data",
)
_LOUD = threading.Lock()
_SHOWN: Final = 4_096


def listen(  # noqa: PLR0913, PLR0917  one for each option
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where it listens; 0: any that is free.")
    ] = 9000,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="On which address.")] = "127.0.0.1",
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="@FILE",
            help="Where the endpoint's secret is: @file or -. Several while one is rotated. Without one, "
            "nothing is verified.",
        ),
    ] = None,
    status: Annotated[int, typer.Option(min=200, max=599, help="What it answers.")] = 204,
    delay: Annotated[float, typer.Option(min=0, max=600, metavar="SECONDS", help="After so long.")] = 0,
    retry_after: Annotated[
        int | None, typer.Option(min=0, metavar="SECONDS", help="Goes with answers that are no success.")
    ] = None,
    fail_first: Annotated[
        int, typer.Option(min=0, metavar="TIMES", help="Each message is answered 500 so often at first.")
    ] = 0,
    json: AsJson = False,
) -> None:
    """Receive events on this machine and show them, until Ctrl-C.

    What does not verify is answered 400, with the reason. It needs no engine and no settings. For an engine
    to reach it: WAYBILL_ALLOW_HTTP=true and WAYBILL_ALLOW_NETWORKS=127.0.0.0/8, as `waybill dev` has.
    """
    secrets = tuple(elsewhere(one) for one in secret or ())
    _check(secrets)
    listener = Listener(Manner(secrets, status, delay, retry_after, fail_first))
    try:
        door = server(listener, host, port, _print_json if json else _print)
    except OSError as error:
        raise WrongUsage(f"Cannot listen on {host}:{port}: {error.strerror}.") from None
    _stop_on_signals(door)
    if not json:
        say(f"Listening on http://{host}:{door.server_address[1]}/; Ctrl-C stops it.", style="bold")
        if not secrets:
            say("Nothing is verified: no --secret was given.")
    with door:
        door.serve_forever(poll_interval=0.1)
    if not json:
        forged = f"{listener.forged} refused as forged"
        say(f"{listener.requests} received, {listener.verified} verified, {forged}.")


def _check(secrets: tuple[str, ...]) -> None:
    """Find out now what is no secret, and not with the first request."""
    for secret in secrets:
        try:
            parse_public_key(secret) if secret.startswith(PUBLIC_PREFIX) else parse_secret(secret)
        except MalformedSecret as error:
            raise WrongUsage(f"--secret: {error}") from None


def _stop_on_signals(door: ThreadingHTTPServer) -> None:
    """End `serve_forever` on SIGTERM and Ctrl-C; from a thread, since it waits until that has ended."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=door.shutdown).start())


def _print(heard: Heard) -> None:
    kind, body = _event(heard)
    mark = {True: "✓ verified", False: "✗ refused", None: "unverified"}[heard.verified]
    again = f", for the {heard.times}. time" if heard.times > 1 else ""
    with _LOUD:
        say(f"{exact(heard.at)}  {mark}  {kind}  {heard.message_id}{again} → {heard.status}", style="bold")
        if heard.flaw is not None:
            say(f"  {heard.flaw}")
        print_indented(body, by=2)
        sys.stdout.flush()


def _event(heard: Heard) -> tuple[str, str]:
    """The type that a body names, and the body as a person reads it."""
    try:
        shown = msgspec.json.format(heard.body, indent=2).decode()
        read = msgspec.json.decode(heard.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "no JSON", heard.body[:_SHOWN].decode(errors="replace")
    # A binary CloudEvent names it in a header: its body is the data alone, whatever that holds.
    named = read.get("type") if isinstance(read, dict) else None
    kind = heard.headers.get("ce-type", named)
    return kind if isinstance(kind, str) else "no type", shown


def _print_json(heard: Heard) -> None:
    try:
        data: object = msgspec.json.decode(heard.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        data = None
    line = {
        "at": rfc3339(heard.at),
        "message_id": heard.message_id,
        "times": heard.times,
        "verified": heard.verified,
        "flaw": heard.flaw,
        "status": heard.status,
        "path": heard.path,
        "headers": heard.headers,
        "body": heard.body.decode(errors="replace"),
        "event": data,
    }
    with _LOUD:
        print(tame_json(msgspec.json.encode(line).decode()), flush=True)
