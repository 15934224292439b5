"""The entry point `waybill`: the command line, with the commands that start or examine processes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from delivery.cli.app import app
from delivery.cli.runtime import report_error
from delivery.domain.errors import WaybillError
from workers.commands import doctor, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

app.add_typer(serve.app)
app.command("dev")(serve.dev)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 refused, 2 usage or settings, 3 unavailable."""
    try:
        app(args=arguments, prog_name="waybill")
    except WaybillError as error:
        return report_error(error)
    except BrokenPipeError:  # whoever read our answer has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
