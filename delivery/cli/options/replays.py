"""The options of commands that start a replay."""

from typing import Annotated

import typer

HoldOption = Annotated[
    bool,
    typer.Option(
        "--hold", metavar="", help="Include paused and disabled endpoints: their deliveries are held."
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", metavar="", help="Only show what would be sent.")]
WatchOption = Annotated[bool, typer.Option("--watch", "-w", metavar="", help="Follow it until it ends.")]
