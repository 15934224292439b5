"""The command line: a thin door. It reads arguments, calls use cases and shows what they return."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from delivery.cli.app import app
from delivery.cli.door import report
from delivery.errors import WaybillError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 refused, 2 usage or settings, 3 unavailable."""
    try:
        app(args=arguments, prog_name="waybill")
    except WaybillError as error:
        return report(error)
    except BrokenPipeError:  # whoever read our answer has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
