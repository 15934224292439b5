"""`waybill endpoint recover`: send again what an endpoint missed."""

from datetime import datetime
from typing import Annotated

import typer

from delivery.cli.options.common import EndpointArgument, JsonOption, ReasonOption, TenantOption, read_time
from delivery.cli.options.replays import DryRunOption, HoldOption, WatchOption


def recover(  # noqa: PLR0913, PLR0917  one for each option
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    since: Annotated[
        datetime,
        typer.Option(
            parser=read_time, metavar="WHEN", help="Since when: an age such as 15m or 2h, or a time."
        ),
    ],
    reason: ReasonOption = None,
    hold: HoldOption = False,
    dry_run: DryRunOption = False,
    watch: WatchOption = False,
    json: JsonOption = False,
) -> None:
    """Send again what an endpoint missed: all failed deliveries since then, and all pending ones."""
    from delivery.cli.commands.replays import start_replay
    from delivery.services.replays.validation import build_recovery

    new = build_recovery(endpoint_id, since, reason=reason, hold=hold)
    start_replay(tenant_id, new, dry_run=dry_run, watch=watch, json=json)
