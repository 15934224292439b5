"""The entry point `waybill`: the command line, with the commands that start or examine processes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from delivery.cli.version import print_version
from delivery.domain.errors import WaybillError
from workers.garbage_collection import tune_gc_for_start

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 refused, 2 usage or settings, 3 unavailable."""
    if (sys.argv[1:] if arguments is None else list(arguments)) == ["--version"]:
        print_version()
        return 0
    tune_gc_for_start()
    from workers.commands.app import app  # noqa: PLC0415  not for --version

    try:
        app(args=arguments, prog_name="waybill")
    except WaybillError as error:
        from delivery.cli.runtime import report_error  # noqa: PLC0415  only for a command that failed

        return report_error(error)
    except BrokenPipeError:  # whoever read our answer has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
