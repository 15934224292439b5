"""`waybill event erase` and `waybill attempt erase`: content taken away for good."""

from typing import Annotated

import typer

from delivery.cli import shapes
from delivery.cli.door import WrongUsage, actor, ask
from delivery.cli.options import AsJson, Tenant, TheAttempt, TheEvent, Why, examples
from delivery.cli.screen import is_terminal, print_json, say
from delivery.model import Prefix, show_id

OF_EVENT = examples(
    'waybill event erase --tenant ten_… evt_… --reason "asked for by the customer"',
    "waybill event erase --tenant ten_… evt_… --cancel-pending --yes",
)
OF_ATTEMPT = examples("waybill attempt erase --tenant ten_… att_… --yes")

_Yes = Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask.")]


def erase_event(
    tenant: Tenant,
    event: TheEvent,
    cancel_pending: Annotated[
        bool, typer.Option("--cancel-pending", metavar="", help="Cancel what is still owed of it.")
    ] = False,
    yes: _Yes = False,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Erase the content of an event for good. That it happened stays in the ledger."""
    shown = show_id(Prefix.EVENT, event)
    _confirm(f"the content of {shown}", yes=yes)
    erased = ask(
        lambda uses: uses.erasure.event(
            tenant, event, cancel_pending=cancel_pending, reason=reason, actor=actor()
        )
    )
    if json:
        print_json(shapes.event(erased))
        return
    say(f"The content of {shown} is erased.")


def erase_attempt(
    tenant: Tenant, attempt: TheAttempt, yes: _Yes = False, reason: Why = None, json: AsJson = False
) -> None:
    """Erase the headers and the body of what came back to an attempt, for good."""
    shown = show_id(Prefix.ATTEMPT, attempt)
    _confirm(f"the response of {shown}", yes=yes)
    erased = ask(lambda uses: uses.erasure.attempt(tenant, attempt, reason=reason, actor=actor()))
    if json:
        print_json(shapes.attempt(erased))
        return
    say(f"The response of {shown} is erased.")


def _confirm(what: str, *, yes: bool) -> None:
    if yes:
        return
    if not is_terminal():
        raise WrongUsage("Say --yes: what is erased cannot be brought back.")
    typer.confirm(f"Erase {what}? It cannot be brought back.", abort=True, err=True)
