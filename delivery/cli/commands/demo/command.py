"""`waybill demo`: run the story, show its progress, and say in the end whether everything was delivered."""

import asyncio
import signal
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from delivery.cli.commands.demo.engine import DemoEngine, run_engine
from delivery.cli.commands.demo.result import UNFINISHED, ReceiverTally, find_missing
from delivery.cli.commands.demo.story import Story, create_verifier
from delivery.cli.output.table import Column, print_table, print_text
from delivery.domain.durations import format_duration
from delivery.domain.errors import Unavailable

_EXAMPLE_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  the specification's own example

app = typer.Typer()


@app.command("demo")
def demo(
    events: Annotated[
        int, typer.Option(min=20, max=5_000, metavar="COUNT", help="How many events to publish.")
    ] = 300,
) -> None:
    """See signed webhooks arrive: an engine, three receivers, half a minute.

    `warehouse` verifies every signature; `billing` fails at first, until its circuit breaker opens, and
    recovers; `crm` is down. The engine and its data are removed afterwards. Exit code 0: everything that had
    to be delivered was delivered and verified.
    """
    create_verifier(_EXAMPLE_SECRET)  # refuse before anything is started
    story = Story(events)
    start = time.monotonic()
    with run_engine() as engine:
        try:
            tallies = asyncio.run(_play_until_signal(story, engine))
        except Unavailable as error:
            raise Unavailable(f"{error}\n{engine.read_log_tail()}".rstrip()) from error
    _print_summary(tallies)
    missing = find_missing(tallies, story.accepted, published=events)
    if missing:
        print_text("Something is missing:", style="bold red")
        for sentence in missing:
            print_text(f"  {sentence}")
        raise typer.Exit(1)
    took = format_duration(timedelta(seconds=time.monotonic() - start))
    print_text(
        f"Everything that had to be delivered was delivered and verified, in {took}.", style="bold green"
    )
    print_text("Next: `make up` starts an engine that stays; README.md has a tour of five minutes.")


async def _play_until_signal(story: Story, engine: DemoEngine) -> list[ReceiverTally]:
    # SIGTERM and a closed terminal end the demo as gently as Ctrl-C does.
    playing = asyncio.create_task(story.play(engine))
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        received.append(number)
        playing.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    progress = asyncio.create_task(_print_progress(story))
    try:
        return await playing
    except asyncio.CancelledError:
        if received:
            raise typer.Exit(128 + received[0]) from None
        raise
    finally:
        progress.cancel()


async def _print_progress(story: Story) -> None:
    start, step = time.monotonic(), ""
    while True:
        if story.step != step:
            step = story.step
            print_text(f"{step} …", style="bold")
        elif story.accepted:
            print_text(f"{time.monotonic() - start:5.1f} s  {story.format_progress()}")
        await asyncio.sleep(1)


def _print_summary(tallies: Sequence[ReceiverTally]) -> None:
    print_text("")
    print_text("What the ledger says, read through the API, and what receivers verified", style="bold")
    titles = ("DELIVERIES", "SUCCEEDED", "HELD", "ATTEMPTS", "VERIFIED", "MEDIAN", "P95")
    print_table(
        [Column("RECEIVER"), *(Column(title, numeric=True) for title in titles)],
        [
            (
                tally.name,
                str(len(tally.deliveries)),
                str(tally.count("succeeded")),
                str(tally.count(*UNFINISHED)),
                str(tally.attempts),
                str(len(tally.verified)),
                _format_latency(tally, 0.5),
                _format_latency(tally, 0.95),
            )
            for tally in tallies
        ],
        empty_message="",
    )
    for tally in tallies:
        if tally.down:
            reasons = " ".join(sorted({d.detail for d in tally.deliveries if d.detail}))
            print_text("")
            print_text(f"{tally.name}: {reasons} Its breaker is open; all of it is held and still owed.")
    print_text("")


def _format_latency(tally: ReceiverTally, share: float) -> str:
    took = tally.latency(share)
    return "" if took is None else format_duration(took)
