"""`waybill ingest`: messages from RabbitMQ that could not be accepted."""

from typing import Annotated

import typer

from delivery import schemas
from delivery.cli.options.common import (
    JsonOption,
    LimitOption,
    MessageArgument,
    OptionalMessageArgument,
    ReasonOption,
    id_option,
)
from delivery.cli.options.examples import format_examples
from delivery.cli.output.pages import BEFORE_HELP, print_page, print_page_json, to_page_request
from delivery.cli.output.table import Column, print_facts, print_indented, print_json, print_text
from delivery.cli.runtime import UsageError, get_actor, run_use_case
from delivery.clock import clock
from delivery.domain.durations import format_utc
from delivery.domain.ids import MessageId, Prefix, TenantId, format_id
from delivery.services.dead_letters import BatchResult
from delivery.services.presentation import format_relative_time

app = typer.Typer(name="ingest", help="Messages from RabbitMQ that were refused.", no_args_is_help=True)

AllOption = Annotated[bool, typer.Option("--all", help="All messages.")]
ReasonLikeOption = Annotated[
    str | None,
    typer.Option("--reason-like", metavar="WORDS", help="All messages whose reason contains these words."),
]


@app.command("list")
def list_messages(
    limit: LimitOption = 20,
    before: Annotated[MessageId | None, id_option("--before", Prefix.MESSAGE, BEFORE_HELP)] = None,
    json: JsonOption = False,
) -> None:
    """List messages that could not be accepted, newest first."""
    page = run_use_case(lambda uses: uses.dead_letters.list_messages(to_page_request(limit, before)))
    if json:
        print_page_json(page, schemas.dead_letters.MessageOut.from_record, Prefix.MESSAGE)
        return
    now = clock()
    print_page(
        page,
        [
            Column("MESSAGE"),
            Column("MESSAGE-ID", optional=True),
            Column("FROM", optional=True),
            Column("LAST", optional=True),
            Column("TIMES", optional=True, numeric=True),
            Column("WHY", shrinkable=True),
        ],
        lambda message: (
            format_id(Prefix.MESSAGE, message.id),
            message.message_id or "",
            message.publisher or "",
            format_relative_time(message.last_at, now=now),
            f"{message.times:,}",
            message.reason,
        ),
        Prefix.MESSAGE,
        empty_message="There are no refused messages.",
    )


@app.command()
def show(message_id: MessageArgument, json: JsonOption = False) -> None:
    """Show a message with its body."""
    message = run_use_case(lambda uses: uses.dead_letters.get_message(message_id))
    if json:
        print_json(schemas.dead_letters.MessageDetailOut.from_details(message))
        return
    tenant, key = message.tenant_id, message.key_id
    print_facts(
        [
            ("why", message.reason),
            ("message-id", message.message_id or ""),
            ("tenant", "not known" if tenant is None else format_id(Prefix.TENANT, tenant)),
            ("key", "" if key is None else format_id(Prefix.KEY, key)),
            ("from", message.publisher or ""),
            ("came first", format_utc(message.first_at)),
            ("came last", f"{format_utc(message.last_at)}, {message.times:,} times in all"),
            ("body", f"{message.size:,} bytes"),
        ],
        title=format_id(Prefix.MESSAGE, message.id),
    )
    print_indented((message.body or b"").decode(errors="replace"), indent=2)


@app.command(
    epilog=format_examples(
        "waybill ingest retry msg_…",
        "waybill ingest retry msg_… --tenant ten_…",
        'waybill ingest retry --reason-like "no API key" --tenant ten_…',
    )
)
def retry(  # noqa: PLR0913, PLR0917  each is an option
    message_id: OptionalMessageArgument = None,
    everything: AllOption = False,
    reason_like: ReasonLikeOption = None,
    tenant_id: Annotated[
        TenantId | None,
        id_option("--tenant", Prefix.TENANT, "The tenant, where the message does not tell it."),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Used instead of its message-id.")
    ] = None,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Retry a message and print its event's id, or retry many. Errors are printed."""
    message, like = _choose_messages(message_id, reason_like, everything=everything)
    if message is None:
        if idempotency_key is not None:
            raise UsageError("--idempotency-key works with one message only: each message needs its own.")
        result = run_use_case(
            lambda uses: uses.dead_letters.retry_matching(
                like, tenant_id=tenant_id, reason=reason, actor=get_actor()
            )
        )
        _print_result(result, "were accepted", json=json)
        return
    retried = run_use_case(
        lambda uses: uses.dead_letters.retry_message(
            message, tenant_id=tenant_id, idempotency_key=idempotency_key, reason=reason, actor=get_actor()
        )
    )
    if json:
        print_json(schemas.dead_letters.RetriedOut.from_record(retried))
        return
    print_text(format_id(Prefix.EVENT, retried.event_id))


@app.command(
    epilog=format_examples("waybill ingest discard msg_…", 'waybill ingest discard --all --reason "a test"')
)
def discard(
    message_id: OptionalMessageArgument = None,
    everything: AllOption = False,
    reason_like: ReasonLikeOption = None,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Discard a message, or many. This cannot be undone."""
    message, like = _choose_messages(message_id, reason_like, everything=everything)
    if message is None:
        result = run_use_case(
            lambda uses: uses.dead_letters.discard_matching(like, reason=reason, actor=get_actor())
        )
        _print_result(result, "were discarded", json=json)
        return
    run_use_case(lambda uses: uses.dead_letters.discard_message(message, reason=reason, actor=get_actor()))
    id_text = format_id(Prefix.MESSAGE, message)
    if json:
        print_json({"id": id_text, "discarded": True})
        return
    print_text(f"{id_text} is discarded.")


def _choose_messages(
    message_id: MessageId | None, like: str | None, *, everything: bool
) -> tuple[MessageId | None, str]:
    """The message's id, or None and the text that reasons must contain."""
    # An empty text, such as an unset variable, must not select all messages.
    if [message_id is not None, everything, like is not None].count(True) != 1 or like == "":
        raise UsageError("Name a message, --reason-like with words of the reason, or --all.")
    return message_id, like or ""


def _print_result(result: BatchResult, outcome: str, *, json: bool) -> None:
    if json:
        print_json(schemas.dead_letters.MessageBatchOut.from_record(result))
        return
    print_text(
        f"{result.done:,} {outcome}."
        + (f" {result.remaining:,} are still refused." if result.remaining else "")
    )
