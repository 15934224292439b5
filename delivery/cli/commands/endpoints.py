"""`waybill endpoint`: the endpoints of a tenant."""

from datetime import timedelta
from typing import Annotated, Any

import msgspec
import typer

from delivery import schemas
from delivery.bootstrap import Services
from delivery.cli.commands import endpoint_states as states
from delivery.cli.commands import filter_test, reconcile
from delivery.cli.commands.recovery import recover
from delivery.cli.options.common import (
    EndpointArgument,
    JsonOption,
    LimitOption,
    ReasonOption,
    TenantOption,
    id_option,
    with_options,
)
from delivery.cli.options.endpoints import EndpointOptions, SecretOption
from delivery.cli.options.examples import format_examples
from delivery.cli.output.pages import BEFORE_HELP, print_page, print_page_json, to_page_request
from delivery.cli.output.table import Column, is_interactive, print_json, print_text
from delivery.cli.runtime import UsageError, get_actor, run_use_case
from delivery.clock import clock
from delivery.domain.endpoint import Endpoint, SealedSecret, Signature
from delivery.domain.ids import EndpointId, Prefix, format_id
from delivery.services.presentation import format_relative_time

app = typer.Typer(
    name="endpoint", help="Endpoints: receivers of events, and their secrets.", no_args_is_help=True
)


@app.command(
    epilog=format_examples(
        "waybill endpoint create --tenant ten_… https://shop.example/hooks",
        "waybill endpoint create --tenant ten_… https://shop.example/hooks \\",
        "  --filter 'order.*' --filter invoice.paid --header 'X-Token: s3cret' \\",
        "  --schedule 0,5s,5m,2h --timeout 10 --rate-limit 100/1m",
    )
)
@with_options(EndpointOptions)
def create(  # noqa: PLR0913, PLR0917  one for each option
    options: EndpointOptions,
    url: Annotated[str, typer.Argument(metavar="URL", help="https://…", show_default=False)],
    tenant_id: TenantOption,
    signature: Annotated[
        Signature, typer.Option(help="Standard Webhooks: v1 is HMAC-SHA256, v1a is ed25519.")
    ] = Signature.V1,
    secret: SecretOption = None,
    operational: Annotated[
        bool,
        typer.Option(
            "--operational", metavar="", help="It receives operational events instead of the tenant's events."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Create an endpoint and print its secret. It is shown only once.

    An operational endpoint receives endpoint.disabled, endpoint.enabled, endpoint.breaker_opened,
    endpoint.breaker_closed, endpoint.disable_warning and delivery.failed, if they match its filters.
    """
    from delivery.cli.output.endpoints import print_endpoint, print_new_secret
    from delivery.services.endpoints.validation import NewEndpoint

    fields: dict[str, Any] = {**options.to_fields()}
    fields["headers"] = {name: value or "" for name, value in options.headers or ()}
    new = NewEndpoint(url, signature=signature, secret=secret, operational=operational, **fields)
    endpoint, new_secret = run_use_case(lambda uses: uses.endpoints.create(tenant_id, new, actor=get_actor()))
    if json:
        print_json(schemas.endpoints.NewEndpointOut.from_new_endpoint(endpoint, new_secret))
        return
    print_endpoint(endpoint, (), now=clock())
    print_new_secret(new_secret)


@app.command("list")
def list_endpoints(
    tenant_id: TenantOption,
    limit: LimitOption = 20,
    before: Annotated[EndpointId | None, id_option("--before", Prefix.ENDPOINT, BEFORE_HELP)] = None,
    json: JsonOption = False,
) -> None:
    """List a tenant's endpoints, newest first."""
    page = run_use_case(
        lambda uses: uses.endpoint_queries.list_endpoints(tenant_id, to_page_request(limit, before))
    )
    if json:
        print_page_json(page, schemas.endpoints.EndpointOut.from_record, Prefix.ENDPOINT)
        return
    now = clock()
    print_page(
        page,
        [
            Column("ENDPOINT"),
            Column("STATE"),
            Column("URL", shrinkable=True),
            Column("FILTER", optional=True),
            Column("MADE", optional=True),
        ],
        lambda endpoint: (
            format_id(Prefix.ENDPOINT, endpoint.id),
            endpoint.state,
            endpoint.url,
            " ".join(endpoint.filter),
            format_relative_time(endpoint.created_at, now=now),
        ),
        Prefix.ENDPOINT,
        empty_message="This tenant has no endpoint yet; `waybill endpoint create URL` creates one.",
    )


@app.command()
def show(tenant_id: TenantOption, endpoint_id: EndpointArgument, json: JsonOption = False) -> None:
    """Show an endpoint and its active secrets, without the secrets themselves."""

    async def use(uses: Services) -> tuple[Endpoint, list[SealedSecret]]:
        endpoint = await uses.endpoint_queries.read(tenant_id, endpoint_id)
        return endpoint, await uses.endpoint_queries.list_secrets(tenant_id, endpoint_id)

    endpoint, secrets = run_use_case(use)
    if json:
        print_json(schemas.endpoints.EndpointDetailOut.from_details(endpoint, secrets))
        return
    from delivery.cli.output.endpoints import print_endpoint

    print_endpoint(endpoint, secrets, now=clock())


@app.command(
    epilog=format_examples(
        "waybill endpoint update --tenant ten_… ep_… --url https://new.example/hooks",
        "waybill endpoint update --tenant ten_… ep_… --schedule default --header 'X-Old:'",
    )
)
@with_options(EndpointOptions)
def update(
    options: EndpointOptions,
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    url: Annotated[str | None, typer.Option(metavar="URL", help="A new URL.")] = None,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Change the given fields of an endpoint. Pending deliveries go to the new URL.

    `default` restores the default of a schedule, timeout, in-flight limit, breaker or disable-after time.
    `none` removes channels, condition, rate limit, permanent statuses, authentication and client certificate.
    A header without a value is removed. Filters, channels, breaker numbers and permanent statuses replace
    the earlier ones.
    """
    changes = options.to_changes(url)
    changed = run_use_case(
        lambda uses: uses.endpoints.change(tenant_id, endpoint_id, changes, reason=reason, actor=get_actor())
    )
    states.print_changed_endpoint(changed, json)


for _command in (states.pause, states.resume, states.disable, states.enable, states.health):
    app.command()(_command)
app.command(epilog=format_examples("waybill endpoint recover --tenant ten_… ep_… --since 2h --dry-run"))(
    recover
)
app.command("filter-test", epilog=filter_test.EXAMPLES)(filter_test.filter_test)
app.command("events", epilog=reconcile.EXAMPLES)(reconcile.list_endpoint_events)


@app.command()
def delete(
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask for confirmation.")] = False,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Delete an endpoint. Its pending deliveries are cancelled; its history stays."""
    id_text = format_id(Prefix.ENDPOINT, endpoint_id)
    if not yes:
        if not is_interactive():
            raise UsageError("Confirm with --yes: the endpoint's pending deliveries will be cancelled.")
        typer.confirm(f"Delete {id_text} and cancel its pending deliveries?", abort=True, err=True)
    run_use_case(lambda uses: uses.endpoints.delete(tenant_id, endpoint_id, reason=reason, actor=get_actor()))
    if json:
        print_json({"id": id_text, "deleted": True})
        return
    print_text(f"{id_text} is deleted.")


@app.command("rotate-secret")
def rotate_secret(
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    overlap_hours: Annotated[
        float | None,
        typer.Option(
            min=0, max=720, metavar="HOURS", help="How long older secrets keep signing; 0 ends them now."
        ),
    ] = None,
    secret: SecretOption = None,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Create a new secret and print it once. Older secrets keep signing too during the overlap."""
    new_secret = run_use_case(
        lambda uses: uses.endpoints.rotate_secret(
            tenant_id,
            endpoint_id,
            secret=secret,
            overlap=None if overlap_hours is None else timedelta(hours=overlap_hours),
            reason=reason,
            actor=get_actor(),
        )
    )
    if json:
        print_json(schemas.endpoints.NewSecretOut.from_record(new_secret.secret, secret=new_secret.text))
        return
    from delivery.cli.output.endpoints import print_new_secret

    print_new_secret(new_secret)


@app.command("test")
def send_test(
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    type_: Annotated[
        str | None,
        typer.Option("--type", metavar="TYPE", help="Send this type's example from the catalogue."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send a test event to an endpoint, whatever its filter says: `waybill.test`."""
    from delivery.pipeline.parsing import NewEvent, build_test_event

    async def use(uses: Services) -> bytes:
        endpoint = await uses.endpoints.read(tenant_id, endpoint_id)
        test = build_test_event(endpoint.id)
        if type_ is not None:
            test = NewEvent(type_, await uses.event_types.read_example(type_))
        accepted = await uses.intake.accept_events(
            tenant_id, [test], single=True, only_endpoint_id=endpoint.id
        )
        return accepted.response_body

    response = run_use_case(use)
    if json:
        print_json(msgspec.Raw(response))
        return
    print_text(
        f"{msgspec.json.decode(response)['id']} was accepted; `waybill delivery list` shows the result."
    )
