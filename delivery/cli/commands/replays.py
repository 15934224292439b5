"""`waybill replay`: preview, start, follow, pause and cancel replays of many deliveries."""

from typing import TYPE_CHECKING, Annotated

import typer

from delivery import schemas
from delivery.bootstrap import Services
from delivery.cli.options.common import (
    JsonOption,
    LimitOption,
    ReasonOption,
    ReplayArgument,
    TenantOption,
    id_option,
)
from delivery.cli.options.delivery_filter import with_filter_options
from delivery.cli.options.examples import format_examples
from delivery.cli.options.replays import DryRunOption, HoldOption, WatchOption
from delivery.cli.output.pages import BEFORE_HELP, print_page, print_page_json, to_page_request
from delivery.cli.output.table import Column, print_json, print_note, print_text
from delivery.cli.runtime import UsageError, get_actor, run_use_case
from delivery.clock import clock
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.ids import Prefix, ReplayId, TenantId, format_id
from delivery.domain.replay import MissingEventFilter, Replay, ReplayState
from delivery.services.presentation import format_relative_time

if TYPE_CHECKING:
    from delivery.services.replays.validation import NewReplay

app = typer.Typer(name="replay", help="Replays: many deliveries sent again.", no_args_is_help=True)

RequiredReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="The reason, for the audit log.", show_default=False)
]
RateOption = Annotated[
    float | None,
    typer.Option("--rate", min=0.01, max=10_000, metavar="NUMBER", help="Maximum deliveries per second."),
]
_EXIT_INTERRUPTED = 130


@app.command(
    epilog=format_examples(
        "waybill replay create --tenant ten_… --status failed --since 2h --reason outage --dry-run",
        "waybill replay create --tenant ten_… --endpoint ep_… --response 5xx --reason outage --watch",
        "waybill replay create --tenant ten_… --missing --endpoint ep_… --since 7d --reason new",
    )
)
@with_filter_options
def create(  # noqa: PLR0913, PLR0917  one for each option
    selection: DeliveryFilter,
    tenant_id: TenantOption,
    reason: RequiredReasonOption,
    missing: Annotated[
        bool, typer.Option("--missing", metavar="", help="Events that were never delivered to --endpoint.")
    ] = False,
    rate: RateOption = None,
    hold: HoldOption = False,
    everything: Annotated[
        bool, typer.Option("--all", metavar="", help="Allow it without any filter.")
    ] = False,
    dry_run: DryRunOption = False,
    watch: WatchOption = False,
    json: JsonOption = False,
) -> None:
    """Send deliveries that match every filter again, at a lower priority than live traffic.

    Each is sent once, under the same webhook-id with the same body, signed with the current secrets.
    """
    from delivery.services.replays.validation import NewReplay

    chosen = _to_missing_selection(selection) if missing else selection
    new = NewReplay(chosen, reason, rate=rate, hold=hold, everything=everything)
    start_replay(tenant_id, new, dry_run=dry_run, watch=watch, json=json)


@app.command(
    "list",
    epilog=format_examples("waybill replay list --tenant ten_…", "waybill replay list --state running"),
)
def list_replays(
    tenant_id: TenantOption,
    state: Annotated[
        ReplayState | None,
        typer.Option(metavar="STATE", help="The state: running, paused, cancelling, cancelled, finished."),
    ] = None,
    limit: LimitOption = 20,
    before: Annotated[ReplayId | None, id_option("--before", Prefix.REPLAY, BEFORE_HELP)] = None,
    json: JsonOption = False,
) -> None:
    """List replays, newest first."""
    page = run_use_case(
        lambda uses: uses.replays.list_replays(tenant_id, state, to_page_request(limit, before))
    )
    if json:
        print_page_json(page, schemas.replays.ReplayOut.from_record, Prefix.REPLAY)
        return
    now = clock()
    print_page(
        page,
        [
            Column("REPLAY"),
            Column("STATE"),
            Column("DONE", numeric=True),
            Column("OF", numeric=True),
            Column("BEGUN"),
            Column("REASON", shrinkable=True),
            Column("BY", optional=True),
        ],
        lambda replay: (
            format_id(Prefix.REPLAY, replay.id),
            replay.state,
            f"{replay.done:,}",
            f"{replay.selected:,}",
            format_relative_time(replay.created_at, now=now),
            replay.reason,
            replay.actor.name,
        ),
        Prefix.REPLAY,
        empty_message="There are no replays.",
    )


@app.command(
    epilog=format_examples(
        "waybill replay show --tenant ten_… rpl_…", "waybill replay show --tenant ten_… rpl_… --watch"
    )
)
def show(
    tenant_id: TenantOption, replay_id: ReplayArgument, watch: WatchOption = False, json: JsonOption = False
) -> None:
    """Show a replay and its progress."""
    replay = (
        _follow_replay(tenant_id, replay_id)
        if watch
        else run_use_case(lambda uses: uses.replays.read(tenant_id, replay_id))
    )
    _print_replay_result(replay, json)


@app.command()
def pause(
    tenant_id: TenantOption, replay_id: ReplayArgument, reason: ReasonOption = None, json: JsonOption = False
) -> None:
    """Pause a replay. Queued deliveries are taken back."""
    replay = run_use_case(
        lambda uses: uses.replays.pause(tenant_id, replay_id, reason=reason, actor=get_actor())
    )
    _print_state_change(replay, json)


@app.command()
def resume(
    tenant_id: TenantOption, replay_id: ReplayArgument, reason: ReasonOption = None, json: JsonOption = False
) -> None:
    """Resume a paused replay."""
    replay = run_use_case(
        lambda uses: uses.replays.resume(tenant_id, replay_id, reason=reason, actor=get_actor())
    )
    _print_state_change(replay, json)


@app.command()
def cancel(
    tenant_id: TenantOption, replay_id: ReplayArgument, reason: ReasonOption = None, json: JsonOption = False
) -> None:
    """Cancel a replay for good. Queued deliveries return to their earlier status."""
    replay = run_use_case(
        lambda uses: uses.replays.cancel(tenant_id, replay_id, reason=reason, actor=get_actor())
    )
    _print_state_change(replay, json)


def start_replay(tenant_id: TenantId, new: "NewReplay", *, dry_run: bool, watch: bool, json: bool) -> None:
    """Start or preview a replay, and print what was done."""
    if dry_run:
        preview = run_use_case(lambda uses: uses.replays.preview(tenant_id, new, operator=True))
        if json:
            print_json(schemas.replays.ReplayPreviewOut.from_record(preview))
        else:
            from delivery.cli.output.replays import print_replay_preview

            print_replay_preview(preview, now=clock())
        return
    replay = run_use_case(lambda uses: uses.replays.create(tenant_id, new, operator=True, actor=get_actor()))
    if watch:
        _print_replay_result(_follow_replay(tenant_id, replay.id), json)
        return
    if json:
        print_json(schemas.replays.ReplayOut.from_record(replay))
        return
    id_text = format_id(Prefix.REPLAY, replay.id)
    print_text(f"{id_text} has started. Follow it: waybill replay show {id_text} --watch")


def _follow_replay(tenant_id: TenantId, replay_id: ReplayId) -> Replay:
    """Follow a replay. Ctrl-C ends only the following."""

    async def use(uses: Services) -> Replay:
        from delivery.cli.output.replay_progress import watch_replay

        return await watch_replay(lambda: uses.replays.read(tenant_id, replay_id))

    try:
        return run_use_case(use)
    except KeyboardInterrupt:
        id_text = format_id(Prefix.REPLAY, replay_id)
        print_note(f"{id_text} continues; `waybill replay pause {id_text}` or `cancel` stops it.")
        raise typer.Exit(_EXIT_INTERRUPTED) from None


def _print_replay_result(replay: Replay, json: bool) -> None:
    if json:
        print_json(schemas.replays.ReplayOut.from_record(replay))
        return
    from delivery.cli.output.replays import print_replay

    print_replay(replay, now=clock())


def _print_state_change(replay: Replay, json: bool) -> None:
    if json:
        print_json(schemas.replays.ReplayOut.from_record(replay))
        return
    from delivery.cli.output.replays import FINAL_STATES, format_progress

    over = "" if replay.state in FINAL_STATES else f": {format_progress(replay)}"
    print_text(f"{format_id(Prefix.REPLAY, replay.id)} is {replay.state}{over}.")


def _to_missing_selection(selection: DeliveryFilter) -> MissingEventFilter:
    only = DeliveryFilter(
        endpoints=selection.endpoints, types=selection.types, since=selection.since, until=selection.until
    )
    if len(selection.endpoints) != 1 or selection != only:
        raise UsageError("--missing takes one --endpoint, and --type, --since and --until beside it.")
    return MissingEventFilter(selection.endpoints[0], selection.since, selection.until, selection.types)
