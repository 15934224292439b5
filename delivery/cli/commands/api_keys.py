"""`waybill key`: the API keys of a tenant."""

from datetime import timedelta
from typing import Annotated

import typer

from delivery import schemas
from delivery.cli.options.common import (
    Expiry,
    JsonOption,
    KeyArgument,
    LimitOption,
    ReasonOption,
    TenantOption,
    id_option,
    read_expiry,
)
from delivery.cli.options.examples import format_examples
from delivery.cli.output.pages import BEFORE_HELP, print_page, print_page_json, to_page_request
from delivery.cli.output.table import Column, print_json, print_note, print_text
from delivery.cli.runtime import get_actor, run_use_case
from delivery.clock import clock
from delivery.domain.api_key import ApiKey
from delivery.domain.durations import format_utc
from delivery.domain.ids import KeyId, Prefix, format_id
from delivery.domain.scopes import TENANT_SCOPES, Scope, sort_scopes
from delivery.services.api_keys.validation import MAX_REQUESTS_PER_SECOND, CreatedApiKey, NewApiKey
from delivery.services.presentation import format_relative_time

app = typer.Typer(name="key", help="API keys of a tenant.", no_args_is_help=True)


@app.command(
    epilog=format_examples(
        'waybill key create --tenant ten_… "order service"',
        "waybill key create --tenant ten_… shop --scope publish --expires 90d",
    )
)
def create(
    tenant_id: TenantOption,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name for the key.")] = "default",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="Permissions: publish, manage, read, replay. Repeatable. Default: all.",
        ),
    ] = None,
    expires: Annotated[
        Expiry | None,
        typer.Option(
            parser=read_expiry,
            metavar="WHEN",
            help="When it expires: a duration such as 12h or 90d, or a time.",
        ),
    ] = None,
    requests_per_second: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_REQUESTS_PER_SECOND, metavar="COUNT", help="Its rate limit."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Create a key and print it. It is shown only once, since only its hash is stored."""
    new = NewApiKey(
        name,
        scopes=scope or TENANT_SCOPES,
        expires_at=None if expires is None else expires.at,
        lifetime=None if expires is None else expires.after,
        requests_per_second=requests_per_second,
    )
    _print_new_key(
        run_use_case(lambda uses: uses.api_keys.create(tenant_id, new, actor=get_actor())), json=json
    )


@app.command("list")
def list_keys(
    tenant_id: TenantOption,
    limit: LimitOption = 20,
    before: Annotated[KeyId | None, id_option("--before", Prefix.KEY, BEFORE_HELP)] = None,
    json: JsonOption = False,
) -> None:
    """List a tenant's keys, newest first, including revoked and expired ones."""
    page = run_use_case(lambda uses: uses.api_keys.list_keys(tenant_id, to_page_request(limit, before)))
    if json:
        print_page_json(page, schemas.api_keys.KeyOut.from_record, Prefix.KEY)
        return
    now = clock()
    print_page(
        page,
        [
            Column("KEY"),
            Column("NAME", shrinkable=True),
            Column("BEGINS WITH"),
            Column("MAY"),
            Column("MADE", optional=True),
            Column("LAST USED"),
            Column("ENDS"),
        ],
        lambda key: (
            format_id(Prefix.KEY, key.id),
            key.name,
            key.hint,
            _format_scopes(key),
            format_relative_time(key.created_at, now=now),
            "never" if key.last_used_at is None else format_relative_time(key.last_used_at, now=now),
            _format_expiry(key),
        ),
        Prefix.KEY,
        empty_message="This tenant has no key yet; `waybill key create --tenant …` creates one.",
    )


@app.command(epilog=format_examples("waybill key rotate --tenant ten_… key_… --overlap-hours 48"))
def rotate(
    tenant_id: TenantOption,
    key_id: KeyArgument,
    overlap_hours: Annotated[
        float | None,
        typer.Option(min=0, max=720, metavar="HOURS", help="How long the old key stays valid."),
    ] = None,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Replace a key, and print the new key once.

    It has the same name, scopes and lifetime. The old key stays valid for a while, then expires.
    """
    overlap = None if overlap_hours is None else timedelta(hours=overlap_hours)
    new_key = run_use_case(
        lambda uses: uses.api_keys.rotate(
            tenant_id, key_id, overlap=overlap, reason=reason, actor=get_actor()
        )
    )
    _print_new_key(new_key, json=json)


@app.command()
def revoke(
    tenant_id: TenantOption, key_id: KeyArgument, reason: ReasonOption = None, json: JsonOption = False
) -> None:
    """Revoke a key. Every process refuses it within five seconds."""
    run_use_case(lambda uses: uses.api_keys.revoke(tenant_id, key_id, reason=reason, actor=get_actor()))
    id_text = format_id(Prefix.KEY, key_id)
    if json:
        print_json({"id": id_text, "revoked": True})
        return
    print_text(f"{id_text} is revoked.")


def _print_new_key(new_key: CreatedApiKey, *, json: bool) -> None:
    if json:
        print_json(schemas.api_keys.NewKeyOut.from_new_key(new_key))
        return
    print_text(new_key.text)
    print_note(
        f"This is the key {format_id(Prefix.KEY, new_key.key.id)}. Store it now: it will not be shown again."
    )
    if new_key.key.expires_at is not None:
        print_note(f"It expires at {format_utc(new_key.key.expires_at)}.")
    if new_key.replaced is not None and new_key.replaced.expires_at is not None:
        print_note(f"The old key stays valid until {format_utc(new_key.replaced.expires_at)}.")


def _format_scopes(key: ApiKey) -> str:
    return "all" if key.scopes == frozenset(TENANT_SCOPES) else ",".join(sort_scopes(key.scopes))


def _format_expiry(key: ApiKey) -> str:
    now = clock()
    if key.revoked_at is not None:
        return f"revoked {format_relative_time(key.revoked_at, now=now)}"
    return "" if key.expires_at is None else format_relative_time(key.expires_at, now=now)
