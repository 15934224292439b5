"""`waybill doctor`: looks at every part of an installation, and says what to mend."""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from delivery.cli.options.common import JsonOption
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import print_grade, print_indented, print_json, print_text
from delivery.cli.runtime import EXIT_REFUSED, find_settings, set_up_cli_logs
from delivery.clock import clock
from delivery.doctor.examination import DoctorDeps, run_checks
from delivery.doctor.findings import Finding, Severity, fail
from delivery.domain.errors import Misconfigured
from workers.broker.check import check_broker

EXAMPLES = format_examples(
    "waybill doctor", "waybill doctor --try https://shop.example/hooks", "waybill doctor --json"
)


app = typer.Typer()


@app.command("doctor", epilog=EXAMPLES)
def doctor(
    url: Annotated[
        str | None,
        typer.Option("--try", metavar="URL", help="GET this too, on the way that deliveries take."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Look at every part of an installation, and say what to mend.

    Settings, database, schema, walls, partitions, clock, secrets, broker, queues, names and the way out. Run
    it where the processes run, with their environment: it sees what they see. It changes nothing.

    Exit code 1: something has to be mended. Warnings alone are 0.
    """
    findings = _collect_findings(url)
    if json:
        print_json(_findings_document(findings))
    else:
        _print_findings(findings)
    if any(one.severity is Severity.ERROR for one in findings):
        raise typer.Exit(EXIT_REFUSED)


def _collect_findings(url: str | None) -> list[Finding]:
    try:
        settings = find_settings()
    except Misconfigured as error:
        remedy = "Correct it, and look again: nothing else was looked at."
        return [fail("settings", line, remedy) for line in str(error).splitlines()]
    set_up_cli_logs(settings)
    return asyncio.run(run_checks(settings, DoctorDeps(list(os.environ), clock, check_broker), url=url))


def _print_findings(findings: Sequence[Finding]) -> None:
    for one in findings:
        print_grade(one.severity, f"{one.check}: {one.message}")
        if one.remedy:
            print_indented(one.remedy, indent=10, style="dim")
    counts = Counter(one.severity for one in findings)
    if counts[Severity.ERROR] or counts[Severity.WARNING]:
        print_text(f"To mend: {counts[Severity.ERROR]}. Warnings: {counts[Severity.WARNING]}.", style="bold")
    else:
        print_text("All is well.", style="bold")


def _findings_document(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "wrong": sum(one.severity is Severity.ERROR for one in findings),
        "warnings": sum(one.severity is Severity.WARNING for one in findings),
        "checks": [
            {"check": one.check, "grade": one.severity, "says": one.message, "mend": one.remedy or None}
            for one in findings
        ],
    }
