"""`waybill event erase` and `waybill attempt erase`: delete content permanently."""

from typing import Annotated

import typer

from delivery import schemas
from delivery.cli.options.common import (
    AttemptArgument,
    EventArgument,
    JsonOption,
    ReasonOption,
    TenantOption,
)
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import is_interactive, print_json, print_text
from delivery.cli.runtime import UsageError, get_actor, run_use_case
from delivery.domain.ids import Prefix, format_id

EVENT_EXAMPLES = format_examples(
    'waybill event erase --tenant ten_… evt_… --reason "asked for by the customer"',
    "waybill event erase --tenant ten_… evt_… --cancel-pending --yes",
)
ATTEMPT_EXAMPLES = format_examples("waybill attempt erase --tenant ten_… att_… --yes")

_YesOption = Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask for confirmation.")]


def erase_event(
    tenant_id: TenantOption,
    event_id: EventArgument,
    cancel_pending: Annotated[
        bool, typer.Option("--cancel-pending", metavar="", help="Cancel its pending deliveries.")
    ] = False,
    yes: _YesOption = False,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Erase an event's content permanently. The record of the event stays."""
    id_text = format_id(Prefix.EVENT, event_id)
    _confirm_erasure(f"the content of {id_text}", yes=yes)
    erased = run_use_case(
        lambda uses: uses.erasure.erase_event(
            tenant_id, event_id, cancel_pending=cancel_pending, reason=reason, actor=get_actor()
        )
    )
    if json:
        print_json(schemas.events.EventOut.from_record(erased))
        return
    print_text(f"The content of {id_text} is erased.")


def erase_attempt(
    tenant_id: TenantOption,
    attempt_id: AttemptArgument,
    yes: _YesOption = False,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Erase the headers and the body of an attempt's response permanently."""
    id_text = format_id(Prefix.ATTEMPT, attempt_id)
    _confirm_erasure(f"the response of {id_text}", yes=yes)
    erased = run_use_case(
        lambda uses: uses.erasure.erase_attempt(tenant_id, attempt_id, reason=reason, actor=get_actor())
    )
    if json:
        print_json(schemas.deliveries.AttemptOut.from_record(erased))
        return
    print_text(f"The response of {id_text} is erased.")


def _confirm_erasure(what: str, *, yes: bool) -> None:
    if yes:
        return
    if not is_interactive():
        raise UsageError("Confirm with --yes: erased content cannot be restored.")
    typer.confirm(f"Erase {what}? It cannot be restored.", abort=True, err=True)
