"""`waybill portal-link`: give a partner temporary access to its tenant at the console."""

from datetime import timedelta
from typing import Annotated

import typer

from delivery import schemas
from delivery.bootstrap import Services
from delivery.cli.options.common import JsonOption, TenantOption
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import print_json, print_note, print_text
from delivery.cli.runtime import get_actor, run_use_case
from delivery.domain.accounts import PortalRole, Role
from delivery.domain.durations import format_utc
from delivery.services.accounts.portal_links import CreatedPortalLink

EXAMPLES = format_examples("waybill portal-link --tenant ten_… --role support --label 'Joe of Acme'")
_MAX_HOURS = 24


app = typer.Typer()


@app.command("portal-link", epilog=EXAMPLES)
def portal_link(
    tenant_id: TenantOption,
    role: Annotated[PortalRole, typer.Option("--role", help="The role.")] = PortalRole.VIEWER,
    hours: Annotated[float, typer.Option("--hours", metavar="HOURS", help="Lifetime, at most 24.")] = 1,
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="TEXT", help="The name of its user in the audit log."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print a link that gives access to this tenant at the console.

    It can be opened any number of times until it expires, without an account.
    """
    # NaN is neither.
    if not 0 < hours <= _MAX_HOURS:
        raise typer.BadParameter(f"must be more than 0 and at most {_MAX_HOURS}", param_hint="--hours")

    async def use(uses: Services) -> tuple[CreatedPortalLink, str]:
        lifetime, user_role = timedelta(hours=hours), Role(role)
        link = await uses.accounts.create_link(
            tenant_id, key_id=None, role=user_role, label=label, lifetime=lifetime, actor=get_actor()
        )
        return link, link.build_url(uses.settings.base_url)

    link, url = run_use_case(use)
    if json:
        print_json(schemas.portal_links.PortalLinkOut.from_url(link, url))
        return
    print_text(url)
    print_note(
        f"It expires at {format_utc(link.link.expires_at)}. Anybody with it has access. It is shown once."
    )
