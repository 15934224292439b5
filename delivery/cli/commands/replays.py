"""`waybill replay`: many deliveries sent again, looked at first, followed, paused and stopped."""

from datetime import datetime
from typing import Annotated

import typer

from delivery.bootstrap import Services, clock
from delivery.cli import replay_shapes as shapes
from delivery.cli.door import WrongUsage, actor, ask
from delivery.cli.filter_options import filtered
from delivery.cli.listing import Before, cut_of, print_page
from delivery.cli.options import (
    AsJson,
    Limit,
    Tenant,
    TheEndpoint,
    TheReplay,
    Why,
    examples,
    id_option,
    read_moment,
)
from delivery.cli.replay_screen import OVER, print_preview, print_replay, progress_line, watched
from delivery.cli.screen import Column, note, print_json, say
from delivery.cli.shapes import page as page_shape
from delivery.jobs import MissingSelection, Replay, ReplayState
from delivery.model import Prefix, ReplayId, TenantId, show_id
from delivery.replay import NewReplay, recovery
from delivery.selection import DeliverySelection
from delivery.wording import when

app = typer.Typer(name="replay", help="Replays: many deliveries sent again.", no_args_is_help=True)

Because = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, for people.", show_default=False)
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", min=0.01, max=10_000, metavar="NUMBER", help="Deliveries a second at most."),
]
Hold = Annotated[
    bool,
    typer.Option("--hold", metavar="", help="Also for paused and disabled endpoints: it waits for them."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", metavar="", help="Only tell what would be sent.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", metavar="", help="Follow it until it is over.")]
_STOPPED_BY_SIGNAL = 130


@app.command(
    epilog=examples(
        "waybill replay create --tenant ten_… --status failed --since 2h --reason outage --dry-run",
        "waybill replay create --tenant ten_… --endpoint ep_… --response 5xx --reason outage --watch",
        "waybill replay create --tenant ten_… --missing --endpoint ep_… --since 7d --reason new",
    )
)
@filtered
def create(  # noqa: PLR0913, PLR0917  one for each option
    wanted: DeliverySelection,
    tenant: Tenant,
    reason: Because,
    missing: Annotated[
        bool, typer.Option("--missing", metavar="", help="Events that --endpoint was never owed.")
    ] = False,
    rate: Rate = None,
    hold: Hold = False,
    everything: Annotated[
        bool, typer.Option("--all", metavar="", help="Without any filter: all there is.")
    ] = False,
    dry_run: DryRun = False,
    watch: Watch = False,
    json: AsJson = False,
) -> None:
    """Send deliveries that meet every filter again, behind live traffic.

    Each goes out once, under the same webhook-id with the same bytes, signed with today's secrets.
    """
    meant = _missing(wanted) if missing else wanted
    new = NewReplay(meant, reason, rate=rate, hold=hold, everything=everything)
    _begin(tenant, new, dry_run=dry_run, watch=watch, json=json)


@app.command(
    "list", epilog=examples("waybill replay list --tenant ten_…", "waybill replay list --state running")
)
def list_replays(
    tenant: Tenant,
    state: Annotated[
        ReplayState | None,
        typer.Option(
            metavar="STATE", help="That stand so: running, paused, cancelling, cancelled, finished."
        ),
    ] = None,
    limit: Limit = 20,
    before: Annotated[ReplayId | None, id_option("--before", Prefix.REPLAY, Before)] = None,
    json: AsJson = False,
) -> None:
    """List replays, newest first."""
    page = ask(lambda uses: uses.replays.page(tenant, state, cut_of(limit, before)))
    if json:
        print_json(page_shape([shapes.replay(one) for one in page.items], Prefix.REPLAY, page.last))
        return
    now = clock()
    print_page(
        page,
        [
            Column("REPLAY"),
            Column("STATE"),
            Column("DONE", number=True),
            Column("OF", number=True),
            Column("BEGUN"),
            Column("REASON", gives_way=True),
            Column("BY", extra=True),
        ],
        lambda one: (
            show_id(Prefix.REPLAY, one.id),
            one.state,
            f"{one.done:,}",
            f"{one.selected:,}",
            when(one.created_at, now=now),
            one.reason,
            one.actor.name,
        ),
        Prefix.REPLAY,
        none="There are no replays.",
    )


@app.command(
    epilog=examples(
        "waybill replay show --tenant ten_… rpl_…", "waybill replay show --tenant ten_… rpl_… --watch"
    )
)
def show(tenant: Tenant, replay: TheReplay, watch: Watch = False, json: AsJson = False) -> None:
    """Show a replay and how far it is."""
    told = _followed(tenant, replay) if watch else ask(lambda uses: uses.replays.read(tenant, replay))
    _tell(told, json)


@app.command()
def pause(tenant: Tenant, replay: TheReplay, reason: Why = None, json: AsJson = False) -> None:
    """Send no more for now, and take back what no worker has yet."""
    told = ask(lambda uses: uses.replays.pause(tenant, replay, reason=reason, actor=actor()))
    _tell_moved(told, json)


@app.command()
def resume(tenant: Tenant, replay: TheReplay, reason: Why = None, json: AsJson = False) -> None:
    """Go on with a replay that was paused."""
    told = ask(lambda uses: uses.replays.resume(tenant, replay, reason=reason, actor=actor()))
    _tell_moved(told, json)


@app.command()
def cancel(tenant: Tenant, replay: TheReplay, reason: Why = None, json: AsJson = False) -> None:
    """Send no more, ever. What no worker has yet stands as it stood before."""
    told = ask(lambda uses: uses.replays.cancel(tenant, replay, reason=reason, actor=actor()))
    _tell_moved(told, json)


def recover(  # noqa: PLR0913, PLR0917  one for each option
    tenant: Tenant,
    endpoint: TheEndpoint,
    since: Annotated[
        datetime,
        typer.Option(parser=read_moment, metavar="WHEN", help="From then on: 15m, 2h or a moment."),
    ],
    reason: Why = None,
    hold: Hold = False,
    dry_run: DryRun = False,
    watch: Watch = False,
    json: AsJson = False,
) -> None:
    """Send an endpoint again what it did not get. All that failed since then, and all that still waits."""
    new = recovery(endpoint, since, reason=reason, hold=hold)
    _begin(tenant, new, dry_run=dry_run, watch=watch, json=json)


def _begin(tenant: TenantId, new: NewReplay, *, dry_run: bool, watch: bool, json: bool) -> None:
    if dry_run:
        preview = ask(lambda uses: uses.replays.preview(tenant, new, operator=True))
        if json:
            print_json(shapes.preview(preview))
        else:
            print_preview(preview, now=clock())
        return
    made = ask(lambda uses: uses.replays.create(tenant, new, operator=True, actor=actor()))
    if watch:
        _tell(_followed(tenant, made.id), json)
        return
    if json:
        print_json(shapes.replay(made))
        return
    shown = show_id(Prefix.REPLAY, made.id)
    say(f"{shown} has begun. Follow it: waybill replay show {shown} --watch")


def _followed(tenant: TenantId, replay: ReplayId) -> Replay:
    """Watch a replay; who stops watching stops nothing else."""

    async def use(uses: Services) -> Replay:
        return await watched(lambda: uses.replays.read(tenant, replay))

    try:
        return ask(use)
    except KeyboardInterrupt:
        shown = show_id(Prefix.REPLAY, replay)
        note(f"{shown} goes on without you; `waybill replay pause {shown}` or `cancel` stops it.")
        raise typer.Exit(_STOPPED_BY_SIGNAL) from None


def _tell(replay: Replay, json: bool) -> None:
    if json:
        print_json(shapes.replay(replay))
        return
    print_replay(replay, now=clock())


def _tell_moved(replay: Replay, json: bool) -> None:
    if json:
        print_json(shapes.replay(replay))
        return
    over = "" if replay.state in OVER else f": {progress_line(replay)}"
    say(f"{show_id(Prefix.REPLAY, replay.id)} is {replay.state}{over}.")


def _missing(wanted: DeliverySelection) -> MissingSelection:
    only = DeliverySelection(
        endpoints=wanted.endpoints, types=wanted.types, since=wanted.since, until=wanted.until
    )
    if len(wanted.endpoints) != 1 or wanted != only:
        raise WrongUsage("--missing takes one --endpoint, and --type, --since and --until beside it.")
    return MissingSelection(wanted.endpoints[0], wanted.since, wanted.until, wanted.types)
