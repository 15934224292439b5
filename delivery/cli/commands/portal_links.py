"""`waybill portal-link`: let a partner see its own tenant at the console for a while."""

from datetime import timedelta
from typing import Annotated

import typer

from delivery.bootstrap import Services
from delivery.cli import shapes
from delivery.cli.door import actor, ask
from delivery.cli.options import AsJson, Tenant, examples
from delivery.cli.screen import note, print_json, say
from delivery.moments import exact
from delivery.people import Link, PortalRole, Role

EXAMPLES = examples("waybill portal-link --tenant ten_… --role support --label 'Joe of Acme'")
_MOST_HOURS = 24


def portal_link(
    tenant: Tenant,
    role: Annotated[PortalRole, typer.Option("--role", help="What they may do.")] = PortalRole.VIEWER,
    hours: Annotated[
        float, typer.Option("--hours", metavar="HOURS", help="How long it works, at most 24.")
    ] = 1,
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="TEXT", help="Who it is for: the audit names them so."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Print a link that lets whoever has it see this tenant at the console.

    It works until it ends, as often as it is opened, and needs no account.
    """
    # NaN is neither.
    if not 0 < hours <= _MOST_HOURS:
        raise typer.BadParameter(f"must be more than 0 and at most {_MOST_HOURS}", param_hint="--hours")

    async def use(uses: Services) -> tuple[Link, str]:
        lasts, whose = timedelta(hours=hours), Role(role)
        link = await uses.people.make_link(
            tenant, key_id=None, role=whose, label=label, lasts=lasts, actor=actor()
        )
        return link, link.url(uses.settings.base_url)

    link, url = ask(use)
    if json:
        print_json(shapes.portal_link(link, url=url))
        return
    say(url)
    note(f"It works until {exact(link.kept.expires_at)}. Whoever has it gets in: it is shown this once.")
