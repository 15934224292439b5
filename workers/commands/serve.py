"""`waybill serve` and `waybill dev`: the processes that make up an engine.

Settings are checked with light imports; a process's own modules are imported after that.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from typing import NoReturn

import typer

from delivery.bootstrap import check_settings
from delivery.cli.options.examples import format_examples
from delivery.config import Settings, read_settings
from delivery.domain.errors import Misconfigured
from delivery.telemetry.logs import configure_logging

app = typer.Typer(name="serve")
dev_app = typer.Typer()

# Actors only hand claims over; requests in flight have WAYBILL_DRAIN_SECONDS after that.
_WORKER_STOP_MILLISECONDS = 5_000

# For trying it out on one machine; not for production.
_DEV_ENVIRONMENT = {"WAYBILL_ALLOW_HTTP": "true", "WAYBILL_ALLOW_NETWORKS": "127.0.0.0/8,::1"}


@app.callback(
    invoke_without_command=True,
    epilog=format_examples(
        "waybill db upgrade", "waybill serve web", "waybill serve relay", "waybill serve worker"
    ),
)
def show_help(context: typer.Context) -> None:
    """Run one process of an engine, until SIGTERM or Ctrl-C.

    An engine is any number of each: `web` (HTTP API), `relay` (ledger to queue) and `worker` (queue to
    receivers), and `ingest` where events come over RabbitMQ. They need WAYBILL_DATABASE_URL,
    WAYBILL_SECRET_KEYS and, but for web, WAYBILL_AMQP_URL.

    `waybill dev` runs all of them in one process instead, with nothing to set up.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def web() -> None:
    """Serve the HTTP API, on WAYBILL_HOST and WAYBILL_PORT."""
    settings = _read_settings()
    from workers.processes.web import serve

    serve(settings)


@app.command()
def relay() -> None:
    """Put what is due into the queue; take back what dead workers held."""
    settings = _read_settings(needs_broker=True)
    from workers.processes.relay import serve

    serve(settings)


@app.command()
def worker() -> None:
    """Deliver what is in the queue.

    In WAYBILL_WORKER_PROCESSES processes of WAYBILL_WORKER_THREADS threads.
    """
    settings = _read_settings(needs_broker=True)
    _exec_module(
        "dramatiq",
        "workers.processes.worker",
        *("--processes", str(settings.worker_processes)),
        *("--threads", str(settings.worker_threads)),
        *("--worker-shutdown-timeout", str(_WORKER_STOP_MILLISECONDS)),
        "--skip-logging",  # our own lines say it, in the form that the settings ask for
        "--path",  # none: what is imported does not depend on the folder we are started in
        environment=_build_worker_environment(settings),
    )


@app.command()
def ingest() -> None:
    """Accept events that producers publish to RabbitMQ. Only needed where they do.

    They publish to the exchange WAYBILL_QUEUE_NAME.ingest (`waybill.ingest`). Any number may run.
    """
    settings = _read_settings(needs_broker=True)
    from workers.processes.ingest import serve

    serve(settings)


@dev_app.command("dev")
def dev() -> None:
    """Run a whole engine here, with nothing to set up.

    It is one process, on an embedded PostgreSQL. `make up` is the same.

    Everything it keeps is in `.waybill` (WAYBILL_DATA_DIR). Other commands find it there. Unless told
    otherwise it delivers to receivers on this machine, over http as well.
    """
    _print_introduction(read_settings())
    _exec_module("workers.processes.embedded", environment=_DEV_ENVIRONMENT | os.environ)


def _read_settings(*, needs_broker: bool = False) -> Settings:
    """The settings of a process, checked before anything of it is imported. Raises Misconfigured."""
    settings = read_settings()
    configure_logging(settings)
    check_settings(settings)
    if needs_broker and settings.amqp_url is None:
        raise Misconfigured("WAYBILL_AMQP_URL is not set, such as amqp://user:password@host/%2F")
    return settings


def _build_worker_environment(settings: Settings) -> Mapping[str, str]:
    """The environment of a worker: with a metrics port, its processes share a folder for their metrics."""
    if settings.worker_metrics_port is None:
        return os.environ
    from delivery.telemetry.metrics.prometheus import MULTIPROC_DIR_VARIABLE, create_shared_folder

    return os.environ | {MULTIPROC_DIR_VARIABLE: create_shared_folder()}


def _print_introduction(settings: Settings) -> None:
    from delivery.cli.output.table import print_text
    from delivery.embedded.state_dir import FIRST_ADMIN_EMAIL, StateDir

    home = StateDir.from_settings(settings)
    here = settings.base_url
    # Found without a path only where the environment has been activated.
    command = "waybill" if shutil.which("waybill") else sys.argv[0]
    print_text("Starting Waybill; Ctrl-C stops it.", style="bold")
    print_text(f"  API            {here}   (documentation: {here}/docs)")
    print_text(f"  console        {here}/console")
    password_file = home.folder / "console-password"
    print_text(f"                 {FIRST_ADMIN_EMAIL}, at first with the password in {password_file}")
    print_text(f"  operator key   {home.folder / 'operator-key'}")
    print_text(
        f'  to begin       {command} tenant create "Acme Books"   (in another terminal, in this folder)'
    )
    sys.stdout.flush()


def _exec_module(module: str, *arguments: str, environment: Mapping[str, str] = os.environ) -> NoReturn:
    """Go on as `python -m module`; -P: our packages are not looked for in the folder we are started in."""
    words = [sys.executable, "-P", "-m", module, *arguments]
    os.execve(sys.executable, words, environment)  # noqa: S606  our own Python and our own words
