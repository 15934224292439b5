"""`waybill ingest`: messages that came over RabbitMQ and could not be accepted."""

from typing import Annotated

import typer

from delivery.bootstrap import clock
from delivery.cli import shapes
from delivery.cli.door import WrongUsage, actor, ask
from delivery.cli.listing import Before, cut_of, print_page
from delivery.cli.options import AMessage, AsJson, Limit, TheMessage, Why, examples, id_option
from delivery.cli.screen import Column, print_facts, print_indented, print_json, say
from delivery.ingest import Many
from delivery.model import MessageId, Prefix, TenantId, show_id
from delivery.wording import exact, when

app = typer.Typer(name="ingest", help="Messages from RabbitMQ that were refused.", no_args_is_help=True)

Everything = Annotated[bool, typer.Option("--all", help="All that there are.")]
ReasonLike = Annotated[
    str | None,
    typer.Option("--reason-like", metavar="WORDS", help="All that were refused with these words."),
]


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


@app.command(
    epilog=examples(
        "waybill ingest retry msg_…",
        "waybill ingest retry msg_… --tenant ten_…",
        'waybill ingest retry --reason-like "no API key" --tenant ten_…',
    )
)
def retry(  # noqa: PLR0913, PLR0917  each is an option
    message: AMessage = None,
    everything: Everything = False,
    reason_like: ReasonLike = None,
    tenant: Annotated[
        TenantId | None, id_option("--tenant", Prefix.TENANT, "Whose, where its key did not tell.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="In place of its message-id.")
    ] = None,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Accept a message after all, and print its event's id; or many. What still refuses it is told."""
    one, like = _which(message, reason_like, everything=everything)
    if one is None:
        if idempotency_key is not None:
            raise WrongUsage("--idempotency-key is for one message: each of many needs its own.")
        many = ask(
            lambda uses: uses.messages.retry_many(like, tenant_id=tenant, reason=reason, actor=actor())
        )
        _tell(many, "are events now", json=json)
        return
    retried = ask(
        lambda uses: uses.messages.retry(
            one, tenant_id=tenant, idempotency_key=idempotency_key, reason=reason, actor=actor()
        )
    )
    event = show_id(Prefix.EVENT, retried.event_id)
    if json:
        print_json({"event_id": event, "deliveries": retried.deliveries, "replayed": retried.replayed})
        return
    say(event)


@app.command(
    epilog=examples("waybill ingest discard msg_…", 'waybill ingest discard --all --reason "a test"')
)
def discard(
    message: AMessage = None,
    everything: Everything = False,
    reason_like: ReasonLike = None,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Throw a message away for good; or many."""
    one, like = _which(message, reason_like, everything=everything)
    if one is None:
        many = ask(lambda uses: uses.messages.discard_many(like, reason=reason, actor=actor()))
        _tell(many, "are thrown away", json=json)
        return
    ask(lambda uses: uses.messages.discard(one, reason=reason, actor=actor()))
    shown = show_id(Prefix.MESSAGE, one)
    if json:
        print_json({"id": shown, "discarded": True})
        return
    say(f"{shown} is thrown away.")


def _which(message: MessageId | None, like: str | None, *, everything: bool) -> tuple[MessageId | None, str]:
    """The one that is meant, or None and the words that a reason has to have."""
    # Words that are empty, such as a variable that is not set, are not all of them.
    if [message is not None, everything, like is not None].count(True) != 1 or like == "":
        raise WrongUsage("Say which: a message, --reason-like with some words of the reason, or --all.")
    return message, like or ""


def _tell(many: Many, became: str, *, json: bool) -> None:
    if json:
        print_json({"done": many.done, "left": many.left})
        return
    say(f"{many.done:,} {became}." + (f" {many.left:,} are still refused." if many.left else ""))
