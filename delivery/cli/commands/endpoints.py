"""`waybill endpoint`: where a tenant's events go."""

from datetime import timedelta
from typing import Annotated

import msgspec
import typer

from delivery.accept import NewEvent, endpoint_test
from delivery.bootstrap import Services, clock
from delivery.cli import endpoint_states as states
from delivery.cli import filter_trial, reconcile, shapes
from delivery.cli.auth_options import NamedAuth, OwnAuth, OwnBasic, OwnBearer, OwnCertificate
from delivery.cli.door import WrongUsage, actor, ask
from delivery.cli.endpoint_options import (
    Channels,
    Filter,
    ForPeople,
    Headers,
    Named,
    NamedLimits,
    OneAttempt,
    OwnBreaker,
    OwnCondition,
    OwnDisableAfter,
    OwnFormat,
    OwnInFlight,
    OwnPayload,
    OwnPermanent,
    OwnRate,
    OwnSecret,
    Schedule,
)
from delivery.cli.endpoint_screen import print_endpoint, print_new_secret
from delivery.cli.listing import Before, cut_of, print_page
from delivery.cli.options import AsJson, Limit, Tenant, TheEndpoint, Why, examples, id_option
from delivery.cli.replays import recover
from delivery.cli.screen import Column, is_terminal, print_json, say
from delivery.endpoints import NewEndpoint
from delivery.filters import EVERYTHING
from delivery.model import Endpoint, EndpointId, Format, PayloadKind, Prefix, SealedSecret, Signature, show_id
from delivery.wording import when

app = typer.Typer(
    name="endpoint", help="Endpoints: where events go, and under which secrets.", no_args_is_help=True
)


@app.command(
    epilog=examples(
        "waybill endpoint create --tenant ten_… https://shop.example/hooks",
        "waybill endpoint create --tenant ten_… https://shop.example/hooks \\",
        "  --filter 'order.*' --filter invoice.paid --header 'X-Token: s3cret' \\",
        "  --schedule 0,5s,5m,2h --timeout 10 --rate-limit 100/1m",
    )
)
def create(  # noqa: PLR0913, PLR0917  one for each option
    url: Annotated[str, typer.Argument(metavar="URL", help="https://…", show_default=False)],
    tenant: Tenant,
    filter_: Filter = None,
    channel: Channels = None,
    condition: OwnCondition = None,
    description: ForPeople = None,
    header: Headers = None,
    signature: Annotated[
        Signature, typer.Option(help="Standard Webhooks: v1 is HMAC-SHA256, v1a is ed25519.")
    ] = Signature.V1,
    schedule: Schedule = None,
    timeout: OneAttempt = None,
    secret: OwnSecret = None,
    operational: Annotated[
        bool,
        typer.Option(
            "--operational", metavar="", help="It gets the engine's own events, and none of the tenant's."
        ),
    ] = False,
    in_flight_max: OwnInFlight = None,
    rate_limit: OwnRate = None,
    breaker: OwnBreaker = None,
    disable_after: OwnDisableAfter = None,
    permanent_status: OwnPermanent = None,
    auth: OwnAuth = None,
    auth_basic: OwnBasic = None,
    auth_bearer: OwnBearer = None,
    client_cert: OwnCertificate = None,
    format_: OwnFormat = None,
    payload: OwnPayload = None,
    json: AsJson = False,
) -> None:
    """Make an endpoint and print its secret. It is shown this once.

    An operational endpoint hears of endpoint.disabled, endpoint.enabled, endpoint.breaker_opened,
    endpoint.breaker_closed, endpoint.disable_warning and delivery.failed, as far as its filters ask for them.
    """
    limits = NamedLimits(in_flight_max, rate_limit, breaker, disable_after, permanent_status)
    new = NewEndpoint(
        url=url,
        description=description or "",
        filter=filter_ or (EVERYTHING,),
        headers={name: value or "" for name, value in header or ()},
        signature=signature,
        schedule=None if schedule is None else schedule.seconds,
        timeout_seconds=None if timeout is None else timeout.seconds,
        secret=secret,
        auth=NamedAuth(auth, auth_basic, auth_bearer).asked,
        client_certificate=None if client_cert is None else client_cert.asked,
        format=format_ or Format.STANDARD,
        payload=payload or PayloadKind.FULL,
        operational=operational,
        channels=channel or (),
        condition=condition,
        **limits.asked(),
    )
    endpoint, made = ask(lambda uses: uses.endpoints.create(tenant, new, actor=actor()))
    if json:
        print_json(shapes.endpoint(endpoint) | {"secret": made.text, "public_key": made.kept.public_key})
        return
    print_endpoint(endpoint, (), now=clock())
    print_new_secret(made)


@app.command("list")
def list_endpoints(
    tenant: Tenant,
    limit: Limit = 20,
    before: Annotated[EndpointId | None, id_option("--before", Prefix.ENDPOINT, Before)] = None,
    json: AsJson = False,
) -> None:
    """List a tenant's endpoints, newest first."""
    page = ask(lambda uses: uses.endpoints.page(tenant, cut_of(limit, before)))
    if json:
        print_json(shapes.page([shapes.endpoint(one) for one in page.items], Prefix.ENDPOINT, page.last))
        return
    now = clock()
    print_page(
        page,
        [
            Column("ENDPOINT"),
            Column("STATE"),
            Column("URL", gives_way=True),
            Column("FILTER", extra=True),
            Column("MADE", extra=True),
        ],
        lambda one: (
            show_id(Prefix.ENDPOINT, one.id),
            one.state,
            one.url,
            " ".join(one.filter),
            when(one.created_at, now=now),
        ),
        Prefix.ENDPOINT,
        none="This tenant has no endpoint yet; `waybill endpoint create URL` makes one.",
    )


@app.command()
def show(tenant: Tenant, endpoint: TheEndpoint, json: AsJson = False) -> None:
    """Show an endpoint, and which secrets sign now. The secrets themselves are never shown again."""

    async def use(uses: Services) -> tuple[Endpoint, list[SealedSecret]]:
        one = await uses.endpoints.read(tenant, endpoint)
        return one, await uses.endpoints.secrets(tenant, endpoint)

    one, live = ask(use)
    if json:
        print_json(shapes.endpoint(one) | {"secrets": [shapes.secret(secret) for secret in live]})
        return
    print_endpoint(one, live, now=clock())


@app.command(
    epilog=examples(
        "waybill endpoint update --tenant ten_… ep_… --url https://new.example/hooks",
        "waybill endpoint update --tenant ten_… ep_… --schedule default --header 'X-Old:'",
    )
)
def update(  # noqa: PLR0913, PLR0917  one for each option
    tenant: Tenant,
    endpoint: TheEndpoint,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Where it points from now on.")] = None,
    filter_: Filter = None,
    channel: Channels = None,
    condition: OwnCondition = None,
    description: ForPeople = None,
    header: Headers = None,
    schedule: Schedule = None,
    timeout: OneAttempt = None,
    in_flight_max: OwnInFlight = None,
    rate_limit: OwnRate = None,
    breaker: OwnBreaker = None,
    disable_after: OwnDisableAfter = None,
    permanent_status: OwnPermanent = None,
    auth: OwnAuth = None,
    auth_basic: OwnBasic = None,
    auth_bearer: OwnBearer = None,
    client_cert: OwnCertificate = None,
    format_: OwnFormat = None,
    payload: OwnPayload = None,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Change what is named and nothing else. Deliveries that are still owed go to where it points now.

    `default` goes back to the default of a schedule, timeout, in-flight limit, breaker or disable-after time,
    `none` to no channels, no condition, no rate limit, no permanent statuses, no authentication and no client
    certificate; a header without a value is taken away. Filters, channels, a breaker's numbers and permanent
    statuses take the place of those before.
    """
    limits = NamedLimits(in_flight_max, rate_limit, breaker, disable_after, permanent_status)
    named = NamedAuth(auth, auth_basic, auth_bearer)
    given = Named(
        url,
        filter_,
        description,
        header,
        schedule,
        timeout,
        limits,
        named,
        client_cert,
        format_,
        payload,
        channel,
        condition,
    )
    changes = given.changes()
    changed = ask(lambda uses: uses.endpoints.change(tenant, endpoint, changes, reason=reason, actor=actor()))
    states.show_changed(changed, json)


for _command in (states.pause, states.resume, states.disable, states.enable, states.health):
    app.command()(_command)
app.command(epilog=examples("waybill endpoint recover --tenant ten_… ep_… --since 2h --dry-run"))(recover)
app.command("filter-test", epilog=filter_trial.EXAMPLES)(filter_trial.filter_test)
app.command("events", epilog=reconcile.EXAMPLES)(reconcile.list_events)


@app.command()
def delete(
    tenant: Tenant,
    endpoint: TheEndpoint,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask.")] = False,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Delete an endpoint. What it was still owed is cancelled; its history stays."""
    shown = show_id(Prefix.ENDPOINT, endpoint)
    if not yes:
        if not is_terminal():
            raise WrongUsage("Say --yes: what the endpoint is still owed will be cancelled.")
        typer.confirm(f"Delete {shown} and cancel what it is still owed?", abort=True, err=True)
    ask(lambda uses: uses.endpoints.delete(tenant, endpoint, reason=reason, actor=actor()))
    if json:
        print_json({"id": shown, "deleted": True})
        return
    say(f"{shown} is deleted.")


@app.command("rotate-secret")
def rotate_secret(
    tenant: Tenant,
    endpoint: TheEndpoint,
    overlap_hours: Annotated[
        float | None,
        typer.Option(
            min=0, max=720, metavar="HOURS", help="How long older secrets go on signing; 0 ends them."
        ),
    ] = None,
    secret: OwnSecret = None,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Make a new secret and print it, once. The older ones go on signing beside it for the overlap."""
    made = ask(
        lambda uses: uses.endpoints.rotate_secret(
            tenant,
            endpoint,
            secret=secret,
            overlap=None if overlap_hours is None else timedelta(hours=overlap_hours),
            reason=reason,
            actor=actor(),
        )
    )
    if json:
        print_json(shapes.new_secret(made))
        return
    print_new_secret(made)


@app.command("test")
def send_test(
    tenant: Tenant,
    endpoint: TheEndpoint,
    type_: Annotated[
        str | None,
        typer.Option("--type", metavar="TYPE", help="This type's example in the catalogue."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Send a test event to an endpoint, whatever its filter says: `waybill.test`."""

    async def use(uses: Services) -> bytes:
        one = await uses.endpoints.read(tenant, endpoint)
        test = endpoint_test(one.id)
        if type_ is not None:
            test = NewEvent(type_, await uses.catalogue.example(type_))
        accepted = await uses.accepter.accept(tenant, [test], single=True, only_endpoint=one.id)
        return accepted.answer

    answer = ask(use)
    if json:
        print_json(msgspec.Raw(answer))
        return
    say(f"{msgspec.json.decode(answer)['id']} is on its way; `waybill delivery list` tells what came of it.")
