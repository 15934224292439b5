"""`waybill ingest`: messages that came over RabbitMQ and could not be accepted."""

from typing import Annotated

import typer

from delivery.bootstrap import clock
from delivery.cli import shapes
from delivery.cli.door import actor, ask
from delivery.cli.listing import Before, cut_of, print_page
from delivery.cli.options import AsJson, Limit, TheMessage, Why, examples, id_option
from delivery.cli.screen import Column, print_facts, print_indented, print_json, say
from delivery.model import MessageId, Prefix, TenantId, show_id
from delivery.wording import exact, when

app = typer.Typer(name="ingest", help="Messages from RabbitMQ that were refused.", no_args_is_help=True)


@app.command("list")
def list_messages(
    limit: Limit = 20,
    before: Annotated[MessageId | None, id_option("--before", Prefix.MESSAGE, Before)] = None,
    json: AsJson = False,
) -> None:
    """List messages that could not be accepted, newest first."""
    page = ask(lambda uses: uses.messages.page(cut_of(limit, before)))
    if json:
        print_json(shapes.page([shapes.message(one) for one in page.items], Prefix.MESSAGE, page.last))
        return
    now = clock()
    print_page(
        page,
        [
            Column("MESSAGE"),
            Column("MESSAGE-ID", extra=True),
            Column("FROM", extra=True),
            Column("LAST", extra=True),
            Column("TIMES", extra=True, number=True),
            Column("WHY", gives_way=True),
        ],
        lambda one: (
            show_id(Prefix.MESSAGE, one.id),
            one.message_id or "",
            one.publisher or "",
            when(one.last_at, now=now),
            f"{one.times:,}",
            one.reason,
        ),
        Prefix.MESSAGE,
        none="No message is set aside.",
    )


@app.command()
def show(message: TheMessage, json: AsJson = False) -> None:
    """Show a message with its body."""
    one = ask(lambda uses: uses.messages.read(message))
    if json:
        print_json(shapes.message(one))
        return
    tenant, key = one.tenant_id, one.key_id
    print_facts(
        [
            ("why", one.reason),
            ("message-id", one.message_id or ""),
            ("tenant", "not known" if tenant is None else show_id(Prefix.TENANT, tenant)),
            ("key", "" if key is None else show_id(Prefix.KEY, key)),
            ("from", one.publisher or ""),
            ("came first", exact(one.first_at)),
            ("came last", f"{exact(one.last_at)}, {one.times:,} times in all"),
            ("body", f"{one.size:,} bytes"),
        ],
        title=show_id(Prefix.MESSAGE, one.id),
    )
    print_indented((one.body or b"").decode(errors="replace"), by=2)


@app.command(epilog=examples("waybill ingest retry msg_…", "waybill ingest retry msg_… --tenant ten_…"))
def retry(
    message: TheMessage,
    tenant: Annotated[
        TenantId | None, id_option("--tenant", Prefix.TENANT, "Whose, where its key did not tell.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="In place of its message-id.")
    ] = None,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Accept a message after all, and print its event's id. What still refuses it is told."""
    retried = ask(
        lambda uses: uses.messages.retry(
            message, tenant_id=tenant, idempotency_key=idempotency_key, reason=reason, actor=actor()
        )
    )
    event = show_id(Prefix.EVENT, retried.event_id)
    if json:
        print_json({"event_id": event, "deliveries": retried.deliveries, "replayed": retried.replayed})
        return
    say(event)


@app.command()
def discard(message: TheMessage, reason: Why = None, json: AsJson = False) -> None:
    """Throw a message away for good."""
    ask(lambda uses: uses.messages.discard(message, reason=reason, actor=actor()))
    shown = show_id(Prefix.MESSAGE, message)
    if json:
        print_json({"id": shown, "discarded": True})
        return
    say(f"{shown} is thrown away.")
