"""`waybill event-type`: the catalogue of what events are called and hold."""

import json as json_text
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from delivery.bootstrap import clock
from delivery.catalogue import Declaration, Deprecation, Told, TypeChanges
from delivery.cli import event_type_shapes as shapes
from delivery.cli.door import actor, ask
from delivery.cli.options import AsJson, Why, examples, read_content, read_moment
from delivery.cli.screen import Column, note, print_facts, print_indented, print_json, print_table, say
from delivery.errors import Invalid
from delivery.ledger.event_types import EventType
from delivery.wording import exact, when

app = typer.Typer(name="event-type", help="Event types: what events hold.", no_args_is_help=True)


class Validation(StrEnum):
    """Whether events are held against the schema."""

    OFF = "off"
    REJECT = "reject"


class Format(StrEnum):
    """What the catalogue is written as."""

    OPENAPI = "openapi"
    ASYNCAPI = "asyncapi"


TheType = Annotated[str, typer.Argument(metavar="TYPE", show_default=False, hidden=True)]


@app.command("list")
def list_types(
    archived: Annotated[bool, typer.Option("--archived", metavar="", help="Archived ones too.")] = False,
    json: AsJson = False,
) -> None:
    """List the types of the catalogue by name."""
    types = ask(lambda uses: uses.catalogue.types(archived=archived))
    if json:
        print_json({"items": [shapes.event_type(one) for one in types], "next": None})
        return
    now = clock()
    print_table(
        [
            Column("TYPE"),
            Column("VERSION", number=True),
            Column("VALIDATION"),
            Column("CHANGED", extra=True),
            Column("STATE"),
            Column("WHAT", extra=True, gives_way=True),
        ],
        [
            (
                one.name,
                str(one.version),
                one.validation,
                when(one.changed_at, now=now),
                _state(one),
                one.description.partition("\n")[0],
            )
            for one in types
        ],
        none="The catalogue is empty; `waybill event-type put TYPE` declares a type.",
    )


@app.command()
def show(
    event_type: TheType,
    version: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, metavar="NUMBER", help="This version, not the newest.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show a type with its schema and its examples."""
    told = ask(lambda uses: uses.catalogue.read(event_type, version=version))
    if json:
        print_json(shapes.told(told))
        return
    _print(told)


@app.command(
    epilog=examples(
        "waybill event-type put order.created --schema @order.schema.json --example @order.json",
        "waybill event-type put order.created --schema @order.schema.json --validation reject",
    )
)
def put(  # noqa: PLR0913, PLR0917  one for each option
    event_type: TheType,
    description: Annotated[str, typer.Option(metavar="TEXT", help="For people.")] = "",
    schema: Annotated[
        bytes | None,
        typer.Option(parser=read_content, metavar="JSON", help="JSON Schema of the data; @file or -."),
    ] = None,
    example: Annotated[
        list[bytes] | None,
        typer.Option(parser=read_content, metavar="JSON", help="Of the data; @file. May be repeated."),
    ] = None,
    validation: Annotated[
        Validation | None,
        typer.Option(help="Whether events that are not as the schema says are refused. Else as it was."),
    ] = None,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Have a type be so from now on. Another schema or example: a new version."""
    declared = Declaration(
        description,
        None if schema is None else _read("schema", schema),
        [_read(f"examples.{place}", one) for place, one in enumerate(example or ())],
        None if validation is None else str(validation),
    )
    told, is_new = ask(
        lambda uses: uses.catalogue.declare(event_type, declared, reason=reason, actor=actor())
    )
    if json:
        print_json(shapes.told(told))
        return
    say(f"{event_type} is {'new' if is_new else 'declared'}, in version {told.type.version}.")


@app.command(epilog=examples("waybill event-type deprecate order.created --replaced-by order.placed"))
def deprecate(
    event_type: TheType,
    until: Annotated[
        datetime | None,
        typer.Option(parser=read_moment, metavar="WHEN", help="When it is to end: a moment."),
    ] = None,
    replaced_by: Annotated[str | None, typer.Option(metavar="TYPE", help="What to use instead.")] = None,
    undo: Annotated[bool, typer.Option("--undo", metavar="", help="It is deprecated no longer.")] = False,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Say that a type should not be used any more. Its events are accepted still."""
    changes = TypeChanges(deprecated=None if undo else Deprecation(None, until, replaced_by))
    _change(event_type, changes, reason, json=json)


@app.command()
def validate(
    event_type: TheType,
    validation: Annotated[Validation, typer.Argument(metavar="off|reject", show_default=False, hidden=True)],
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Hold events against the schema from now on (reject), or not (off)."""
    _change(event_type, TypeChanges(validation=str(validation)), reason, json=json)


@app.command()
def archive(event_type: TheType, reason: Why = None, json: AsJson = False) -> None:
    """Take a type out of the catalogue. Its events are accepted still, unchecked."""
    ask(lambda uses: uses.catalogue.archive(event_type, reason=reason, actor=actor()))
    if json:
        print_json({"name": event_type, "archived": True})
        return
    say(f"{event_type} is archived.")


@app.command(epilog=examples("waybill event-type export --format asyncapi > events.json"))
def export(
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.OPENAPI,
    _json: AsJson = False,
) -> None:
    """Print the catalogue as an OpenAPI 3.1 or AsyncAPI 3 document (JSON)."""
    print_json(ask(lambda uses: uses.catalogue.export(str(form))))


def _change(event_type: str, changes: TypeChanges, reason: str | None, *, json: bool) -> None:
    told = ask(lambda uses: uses.catalogue.change(event_type, changes, reason=reason, actor=actor()))
    if json:
        print_json(shapes.told(told))
        return
    _print(told)


def _read(field: str, text: bytes) -> Any:
    try:
        return json_text.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise Invalid(field, f"is not JSON: {error}") from None


def _state(one: EventType) -> str:
    if one.archived_at is not None:
        return "archived"
    return "" if one.deprecated_at is None else "deprecated"


def _print(told: Told) -> None:
    one, version = told.type, told.version
    deprecated = "" if one.deprecated_at is None else f"since {exact(one.deprecated_at)}"
    if one.deprecated_until is not None:
        deprecated += f", until {exact(one.deprecated_until)}"
    print_facts(
        [
            ("what", one.description),
            ("version", f"{version.version} of {one.version}, made by {version.made_by}"),
            ("made", exact(version.created_at)),
            ("validation", one.validation),
            ("deprecated", deprecated),
            ("use instead", one.replaced_by or ""),
            ("archived", "" if one.archived_at is None else exact(one.archived_at)),
        ],
        title=f"Event type {one.name}",
    )
    if version.schema is not None:
        note("Schema:")
        print_indented(_laid_out(version.schema), by=2)
    for example in json_text.loads(version.examples):
        note("Example:")
        print_indented(_laid_out(json_text.dumps(example)), by=2)


def _laid_out(text: str) -> str:
    return json_text.dumps(json_text.loads(text), indent=2, ensure_ascii=False)
