"""`waybill event-type`: the catalogue of event types."""

import json as json_text
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from delivery import schemas
from delivery.cli.options.common import JsonOption, ReasonOption, read_content, read_time
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import (
    Column,
    print_facts,
    print_indented,
    print_json,
    print_note,
    print_table,
    print_text,
    to_json,
)
from delivery.cli.runtime import get_actor, run_use_case
from delivery.clock import clock
from delivery.domain.durations import format_utc
from delivery.domain.errors import Invalid
from delivery.ledger.records.event_types import EventType
from delivery.services.event_types.validation import (
    Declaration,
    Deprecation,
    EventTypeChanges,
    EventTypeDetails,
)
from delivery.services.presentation import format_relative_time

app = typer.Typer(name="event-type", help="Event types of the catalogue.", no_args_is_help=True)


class ValidationMode(StrEnum):
    """Whether events are validated against the schema."""

    OFF = "off"
    REJECT = "reject"


class CatalogueFormat(StrEnum):
    """The format of the exported catalogue."""

    OPENAPI = "openapi"
    ASYNCAPI = "asyncapi"


EventTypeArgument = Annotated[str, typer.Argument(metavar="TYPE", show_default=False, hidden=True)]


@app.command("list")
def list_types(
    archived: Annotated[bool, typer.Option("--archived", metavar="", help="Include archived types.")] = False,
    json: JsonOption = False,
) -> None:
    """List the types of the catalogue by name."""
    types = run_use_case(lambda uses: uses.event_types.list_types(archived=archived))
    if json:
        print_json(
            schemas.event_types.EventTypeList(
                items=[schemas.event_types.EventTypeOut.from_record(event_type) for event_type in types],
                next=None,
            )
        )
        return
    now = clock()
    print_table(
        [
            Column("TYPE"),
            Column("VERSION", numeric=True),
            Column("VALIDATION"),
            Column("CHANGED", optional=True),
            Column("STATE"),
            Column("WHAT", optional=True, shrinkable=True),
        ],
        [
            (
                event_type.name,
                str(event_type.version),
                event_type.validation,
                format_relative_time(event_type.changed_at, now=now),
                _format_state(event_type),
                event_type.description.partition("\n")[0],
            )
            for event_type in types
        ],
        empty_message="The catalogue is empty; `waybill event-type put TYPE` declares a type.",
    )


@app.command()
def show(
    event_type: EventTypeArgument,
    version: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, metavar="NUMBER", help="This version, not the newest.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show an event type with its schema and examples."""
    details = run_use_case(lambda uses: uses.event_types.read(event_type, version=version))
    if json:
        print_json(_to_document(details))
        return
    _print_event_type(details)


@app.command(
    epilog=format_examples(
        "waybill event-type put order.created --schema @order.schema.json --example @order.json",
        "waybill event-type put order.created --schema @order.schema.json --validation reject",
    )
)
def put(  # noqa: PLR0913, PLR0917  one for each option
    event_type: EventTypeArgument,
    description: Annotated[str, typer.Option(metavar="TEXT", help="A description, for humans.")] = "",
    schema: Annotated[
        bytes | None,
        typer.Option(parser=read_content, metavar="JSON", help="JSON Schema of the data; @file or -."),
    ] = None,
    example: Annotated[
        list[bytes] | None,
        typer.Option(parser=read_content, metavar="JSON", help="An example of the data; @file. Repeatable."),
    ] = None,
    validation: Annotated[
        ValidationMode | None,
        typer.Option(help="Whether to refuse events that do not match the schema. Default: unchanged."),
    ] = None,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Declare an event type. A changed schema or example makes a new version."""
    declared = Declaration(
        description,
        None if schema is None else _parse_json("schema", schema),
        [_parse_json(f"examples.{index}", text) for index, text in enumerate(example or ())],
        None if validation is None else str(validation),
    )
    details, is_new = run_use_case(
        lambda uses: uses.event_types.declare(event_type, declared, reason=reason, actor=get_actor())
    )
    if json:
        print_json(_to_document(details))
        return
    print_text(f"{event_type} is {'new' if is_new else 'declared'}, in version {details.type.version}.")


@app.command(epilog=format_examples("waybill event-type deprecate order.created --replaced-by order.placed"))
def deprecate(
    event_type: EventTypeArgument,
    until: Annotated[
        datetime | None,
        typer.Option(parser=read_time, metavar="WHEN", help="When it is going to be removed."),
    ] = None,
    replaced_by: Annotated[str | None, typer.Option(metavar="TYPE", help="The type to use instead.")] = None,
    undo: Annotated[bool, typer.Option("--undo", metavar="", help="End the deprecation.")] = False,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Deprecate an event type. Its events are still accepted."""
    changes = EventTypeChanges(deprecated=None if undo else Deprecation(None, until, replaced_by))
    _change_type(event_type, changes, reason, json=json)


@app.command()
def validate(
    event_type: EventTypeArgument,
    validation: Annotated[
        ValidationMode, typer.Argument(metavar="off|reject", show_default=False, hidden=True)
    ],
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Turn validation against the schema on (reject) or off."""
    _change_type(event_type, EventTypeChanges(validation=str(validation)), reason, json=json)


@app.command()
def archive(event_type: EventTypeArgument, reason: ReasonOption = None, json: JsonOption = False) -> None:
    """Remove an event type from the catalogue. Its events are still accepted, unvalidated."""
    run_use_case(lambda uses: uses.event_types.archive(event_type, reason=reason, actor=get_actor()))
    if json:
        print_json({"name": event_type, "archived": True})
        return
    print_text(f"{event_type} is archived.")


@app.command(epilog=format_examples("waybill event-type export --format asyncapi > events.json"))
def export(
    catalogue_format: Annotated[
        CatalogueFormat, typer.Option("--format", help="The format.")
    ] = CatalogueFormat.OPENAPI,
    _json: JsonOption = False,
) -> None:
    """Print the catalogue as an OpenAPI 3.1 or AsyncAPI 3 document (JSON)."""
    print_json(run_use_case(lambda uses: uses.event_types.export_document(str(catalogue_format))))


def _change_type(event_type: str, changes: EventTypeChanges, reason: str | None, *, json: bool) -> None:
    details = run_use_case(
        lambda uses: uses.event_types.change(event_type, changes, reason=reason, actor=get_actor())
    )
    if json:
        print_json(_to_document(details))
        return
    _print_event_type(details)


def _parse_json(field: str, text: bytes) -> Any:
    try:
        return json_text.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise Invalid(field, f"is not JSON: {error}") from None


def _format_state(event_type: EventType) -> str:
    if event_type.archived_at is not None:
        return "archived"
    return "" if event_type.deprecated_at is None else "deprecated"


def _print_event_type(details: EventTypeDetails) -> None:
    event_type, version = details.type, details.version
    deprecated = "" if event_type.deprecated_at is None else f"since {format_utc(event_type.deprecated_at)}"
    if event_type.deprecated_until is not None:
        deprecated += f", until {format_utc(event_type.deprecated_until)}"
    print_facts(
        [
            ("what", event_type.description),
            ("version", f"{version.version} of {event_type.version}, made by {version.made_by}"),
            ("made", format_utc(version.created_at)),
            ("validation", event_type.validation),
            ("deprecated", deprecated),
            ("use instead", event_type.replaced_by or ""),
            ("archived", "" if event_type.archived_at is None else format_utc(event_type.archived_at)),
        ],
        title=f"Event type {event_type.name}",
    )
    if version.schema is not None:
        print_note("Schema:")
        print_indented(_indent_json(version.schema), indent=2)
    for example in json_text.loads(version.examples):
        print_note("Example:")
        print_indented(_indent_json(json_text.dumps(example)), indent=2)


def _indent_json(text: str) -> str:
    return json_text.dumps(json_text.loads(text), indent=2, ensure_ascii=False)


def _to_document(details: EventTypeDetails) -> dict[str, Any]:
    """Build the API's JSON, but keep the numbers of schema and examples as they were written."""
    version = details.version
    return {
        **to_json(schemas.event_types.EventTypeDetailOut.from_details(details)),
        "schema": None if version.schema is None else msgspec.Raw(version.schema.encode()),
        "examples": msgspec.Raw(version.examples.encode()),
    }
