"""`waybill serve` and `waybill dev`: the processes that make up an engine."""

import importlib
import os
import shutil
import sys
from collections.abc import Mapping
from typing import NoReturn

import typer

from delivery.bootstrap import PARTS, open_ledger
from delivery.cli.options import examples
from delivery.cli.screen import say
from delivery.config import Settings, read_settings
from delivery.errors import Misconfigured
from delivery.home import FIRST_ADMIN, Home
from delivery.logs import set_up_logs
from delivery.metrics.exposition import FOLDER, shared_folder

app = typer.Typer(name="serve")

# Its actors only hand claims over. What is in flight then has WAYBILL_DRAIN_SECONDS of its own.
_WORKER_STOP_MILLISECONDS = 5_000

# What somebody who tries it out on one machine needs, and nobody else should have.
_AT_HOME = {"WAYBILL_ALLOW_HTTP": "true", "WAYBILL_ALLOW_NETWORKS": "127.0.0.0/8,::1"}


@app.callback(
    invoke_without_command=True,
    epilog=examples("waybill db upgrade", "waybill serve web", "waybill serve relay", "waybill serve worker"),
)
def serve(context: typer.Context) -> None:
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
    settings = read_settings()
    set_up_logs(settings)
    # By name, for two reasons: doors do not know each other, and no other command needs all of the API.
    importlib.import_module("delivery.web").serve(settings)


@app.command()
def relay() -> None:
    """Put what is due into the queue; take back what dead workers held."""
    _check(read_settings())
    _become("workers.relay_process")


@app.command()
def worker() -> None:
    """Deliver what is in the queue.

    In WAYBILL_WORKER_PROCESSES processes of WAYBILL_WORKER_THREADS threads.
    """
    settings = read_settings()
    _check(settings)
    _become(
        "dramatiq",
        "workers.worker_process",
        *("--processes", str(settings.worker_processes)),
        *("--threads", str(settings.worker_threads)),
        *("--worker-shutdown-timeout", str(_WORKER_STOP_MILLISECONDS)),
        "--skip-logging",  # our own lines say it, in the form that the settings ask for
        "--path",  # none: what is imported does not depend on the folder we are started in
        environment=_shared(settings),
    )


@app.command()
def ingest() -> None:
    """Accept events that producers publish to RabbitMQ. Only needed where they do.

    They publish to the exchange WAYBILL_QUEUE_NAME.ingest (`waybill.ingest`). Any number may run.
    """
    _check(read_settings())
    _become("workers.ingest_process")


def dev() -> None:
    """Run a whole engine here, with nothing to set up.

    It is one process, on an embedded PostgreSQL. `make up` is the same.

    Everything it keeps is in `.waybill` (WAYBILL_DATA_DIR). Other commands find it there. Unless told
    otherwise it delivers to receivers on this machine, over http as well.
    """
    _introduce(read_settings())
    _become("workers.embedded_process", environment=_AT_HOME | os.environ)


def _check(settings: Settings) -> None:
    """Raise Misconfigured here, once and in one line, for what would stop each process with a traceback."""
    open_ledger(settings, "check")
    for build in PARTS:
        build(settings)
    if settings.amqp_url is None:
        raise Misconfigured("WAYBILL_AMQP_URL is not set, such as amqp://user:password@host/%2F")


def _shared(settings: Settings) -> Mapping[str, str]:
    """The environment of a worker: its processes are counted together where somebody looks."""
    if settings.worker_metrics_port is None:
        return os.environ
    return os.environ | {FOLDER: shared_folder()}


def _introduce(settings: Settings) -> None:
    home = Home.of(settings)
    here = settings.base_url
    # Found without a path only where the environment has been activated.
    command = "waybill" if shutil.which("waybill") else sys.argv[0]
    say("Starting Waybill; Ctrl-C stops it.", style="bold")
    say(f"  API            {here}   (documentation: {here}/docs)")
    say(f"  console        {here}/console")
    say(f"                 {FIRST_ADMIN}, at first with the password in {home.folder / 'console-password'}")
    say(f"  operator key   {home.folder / 'operator-key'}")
    say(f'  to begin       {command} tenant create "Acme Books"   (in another terminal, in this folder)')
    sys.stdout.flush()


def _become(module: str, *arguments: str, environment: Mapping[str, str] = os.environ) -> NoReturn:
    """Go on as `python -m module`; -P: our packages are not looked for in the folder we are started in."""
    words = [sys.executable, "-P", "-m", module, *arguments]
    os.execve(sys.executable, words, environment)  # noqa: S606  our own Python and our own words
