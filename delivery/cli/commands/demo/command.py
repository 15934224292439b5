"""`waybill demo`: play the story, show it, and say in the end whether all is well."""

import asyncio
import signal
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer
from rich.live import Live

from delivery.cli.commands.demo.engine import Engine, started
from delivery.cli.commands.demo.receivers import the_three, verifier_for
from delivery.cli.commands.demo.stage import Stage
from delivery.cli.commands.demo.story import play
from delivery.cli.commands.demo.verdict import HELD, Account, missing
from delivery.cli.output.table import Column, make_console, print_table, print_text
from delivery.domain.durations import format_duration
from delivery.domain.errors import Unavailable

_ANY_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  the specification's own example


app = typer.Typer()


@app.command("demo")
def demo(
    events: Annotated[
        int, typer.Option(min=20, max=5_000, metavar="COUNT", help="How many events to publish.")
    ] = 300,
) -> None:
    """See signed webhooks arrive: an engine, three receivers, half a minute.

    One receiver verifies every signature; one fails at first, until its circuit breaker opens, and recovers;
    one is down. The engine and all that it keeps are gone afterwards. Exit code 0: what had to be delivered
    was delivered and verified.
    """
    verifier_for(_ANY_SECRET)  # refuse before anything is started
    stage = Stage(the_three(), events)
    began = time.monotonic()
    with started() as engine:
        try:
            accounts = asyncio.run(_terminable(engine, stage))
        except Unavailable as error:
            raise Unavailable(f"{error}\n{engine.last_words()}".rstrip()) from error
    _summarise(accounts)
    lacking = missing(accounts, stage.accepted, published=events)
    _conclude(lacking, took=timedelta(seconds=time.monotonic() - began))
    if lacking:
        raise typer.Exit(1)


async def _terminable(engine: Engine, stage: Stage) -> list[Account]:
    """Play, and let SIGTERM and a closed terminal end it as gently as Ctrl-C does."""
    playing = asyncio.create_task(_shown(engine, stage))
    heard: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        heard.append(number)
        playing.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await playing
    except asyncio.CancelledError:
        if heard:
            raise typer.Exit(128 + heard[0]) from None
        raise


async def _shown(engine: Engine, stage: Stage) -> list[Account]:
    """Play on a terminal that is redrawn, or with a line a second for a log."""
    out = make_console()
    if out.is_terminal and not out.is_dumb_terminal:
        with Live(stage, console=out, refresh_per_second=10, redirect_stderr=False):
            return await play(engine, stage)
    telling = asyncio.create_task(_tell(stage))
    try:
        return await play(engine, stage)
    finally:
        telling.cancel()
        print_text(stage.line())


async def _tell(stage: Stage) -> None:
    step = ""
    while True:
        if stage.step != step:
            step = stage.step
            print_text(f"{step} …")
        elif stage.accepted:
            print_text(stage.line())
        await asyncio.sleep(1)


def _summarise(accounts: Sequence[Account]) -> None:
    print_text("")
    print_text("What the ledger says, read through the API, and what receivers verified", style="bold")
    print_table(
        [
            Column("RECEIVER"),
            Column("OWED", numeric=True),
            Column("SUCCEEDED", numeric=True),
            Column("HELD", numeric=True),
            Column("ATTEMPTS", numeric=True),
            Column("VERIFIED", numeric=True),
            Column("MEDIAN", numeric=True),
            Column("P95", numeric=True),
        ],
        [
            (
                account.name,
                str(len(account.owed)),
                str(account.count("succeeded")),
                str(account.count(*HELD)),
                str(account.attempts),
                str(len(account.verified)),
                _latency(account, 0.5),
                _latency(account, 0.95),
            )
            for account in accounts
        ],
        empty_message="",
    )
    print_text("")
    for account in accounts:
        if account.down:
            reasons = sorted({one.why for one in account.owed if one.why})
            print_text(
                f"{account.name}: {' '.join(reasons)} Its breaker is open: nothing is lost, all of it "
                "is held and still owed."
            )
    print_text("")


def _latency(account: Account, share: float) -> str:
    took = account.latency(share)
    return "" if took is None else format_duration(took)


def _conclude(lacking: Sequence[str], *, took: timedelta) -> None:
    if lacking:
        print_text("Not all is well:", style="bold red")
        for sentence in lacking:
            print_text(f"  {sentence}")
        return
    print_text(
        f"Everything that had to be delivered was delivered and verified, in {format_duration(took)}.",
        style="bold green",
    )
    print_text("Next: `make up` starts an engine that stays; README.md has a tour of five minutes.")
