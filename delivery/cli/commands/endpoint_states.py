"""`waybill endpoint pause`, `resume`, `disable`, `enable`, `health`."""

from typing import Annotated

import typer

from delivery import schemas
from delivery.cli.options.common import EndpointArgument, JsonOption, ReasonOption, TenantOption
from delivery.cli.output.table import print_json
from delivery.cli.runtime import get_actor, run_use_case
from delivery.clock import clock
from delivery.domain.endpoint import Endpoint


def pause(
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Pause an endpoint. Its deliveries are held until it is resumed."""
    print_changed_endpoint(
        run_use_case(
            lambda uses: uses.endpoints.pause(tenant_id, endpoint_id, reason=reason, actor=get_actor())
        ),
        json,
    )


def resume(
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Resume a paused endpoint. Held deliveries are sent, slowly at first."""
    print_changed_endpoint(
        run_use_case(
            lambda uses: uses.endpoints.resume(tenant_id, endpoint_id, reason=reason, actor=get_actor())
        ),
        json,
    )


def disable(
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Disable an endpoint. Its deliveries are held until it is enabled."""
    print_changed_endpoint(
        run_use_case(
            lambda uses: uses.endpoints.disable(tenant_id, endpoint_id, reason=reason, actor=get_actor())
        ),
        json,
    )


def enable(
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    reason: ReasonOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Change nothing; show what would be sent.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Enable a disabled endpoint. Held deliveries are sent, slowly at first."""
    if not dry_run:
        print_changed_endpoint(
            run_use_case(
                lambda uses: uses.endpoints.enable(tenant_id, endpoint_id, reason=reason, actor=get_actor())
            ),
            json,
        )
        return
    preview = run_use_case(lambda uses: uses.endpoints.preview_enable(tenant_id, endpoint_id, reason=reason))
    if json:
        print_json(schemas.endpoint_health.EnablePreviewOut.from_record(preview))
        return
    from delivery.cli.output.endpoint_health import print_enable_preview

    print_enable_preview(preview, now=clock())


def health(tenant_id: TenantOption, endpoint_id: EndpointArgument, json: JsonOption = False) -> None:
    """Show an endpoint's health: holds, backlog and the results of its last attempts."""
    endpoint_health = run_use_case(lambda uses: uses.endpoints.read_health(tenant_id, endpoint_id))
    if json:
        print_json(schemas.endpoint_health.EndpointHealthOut.from_record(endpoint_health))
        return
    from delivery.cli.output.endpoint_health import print_health

    print_health(endpoint_health, now=clock())


def print_changed_endpoint(endpoint: Endpoint, json: bool) -> None:
    """Print an endpoint as it is now."""
    if json:
        print_json(schemas.endpoints.EndpointOut.from_record(endpoint))
        return
    from delivery.cli.output.endpoints import print_endpoint

    print_endpoint(endpoint, (), now=clock())
