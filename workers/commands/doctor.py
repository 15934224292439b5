"""`waybill doctor`: checks every part of an installation, and says what to fix."""

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
        typer.Option("--try", metavar="URL", help="GET this URL too, in the way of a delivery."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check every part of an installation, and say what to fix.

    Settings, database, schema, row-level security, partitions, clock, secrets, broker, queues, DNS and
    egress. Run it where the processes run, with their environment. It changes nothing.

    Exit code 1: something has to be fixed. Warnings alone are 0.
    """
    findings = _collect_findings(url)
    if json:
        print_json(_findings_document(findings))
    else:
        _print_findings(findings)
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(EXIT_REFUSED)


def _collect_findings(url: str | None) -> list[Finding]:
    try:
        settings = find_settings()
    except Misconfigured as error:
        remedy = "Correct it and run the doctor again: nothing else was checked."
        return [fail("settings", line, remedy) for line in str(error).splitlines()]
    set_up_cli_logs(settings)
    return asyncio.run(run_checks(settings, DoctorDeps(list(os.environ), clock, check_broker), url=url))


def _print_findings(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print_grade(finding.severity, f"{finding.check}: {finding.message}")
        if finding.remedy:
            print_indented(finding.remedy, indent=10, style="dim")
    counts = Counter(finding.severity for finding in findings)
    if counts[Severity.ERROR] or counts[Severity.WARNING]:
        print_text(f"To fix: {counts[Severity.ERROR]}. Warnings: {counts[Severity.WARNING]}.", style="bold")
    else:
        print_text("All is well.", style="bold")


def _findings_document(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "wrong": sum(finding.severity is Severity.ERROR for finding in findings),
        "warnings": sum(finding.severity is Severity.WARNING for finding in findings),
        "checks": [
            {
                "check": finding.check,
                "grade": finding.severity,
                "says": finding.message,
                "mend": finding.remedy or None,
            }
            for finding in findings
        ],
    }
