"""Every command under its name, in the order of `--help`."""

from __future__ import annotations

from typing import Final

from delivery.cli.app import LazyCommand, create_app

_CLI: Final = "delivery.cli.commands"
_PROCESSES: Final = "workers.commands"

# A command's line here is the first of its own help: a test holds them equal.
COMMANDS: Final = (
    LazyCommand(
        "portal-link",
        f"{_CLI}.portal_links",
        "Print a link that gives access to this tenant at the console.",
    ),
    LazyCommand(
        "audit", f"{_CLI}.audit", "Show who changed what, newest first. Entries are never changed or deleted."
    ),
    LazyCommand(
        "dev",
        f"{_PROCESSES}.serve",
        "Run a whole engine here, with nothing to set up.",
        attribute="dev_app",
    ),
    LazyCommand(
        "demo",
        f"{_CLI}.demo.command",
        "See signed webhooks arrive: an engine, three receivers, half a minute.",
    ),
    LazyCommand(
        "doctor", f"{_PROCESSES}.doctor", "Check every part of an installation, and say what to fix."
    ),
    LazyCommand("listen", f"{_CLI}.listen", "Receive webhooks on this machine and print them, until Ctrl-C."),
    LazyCommand("tenant", f"{_CLI}.tenants", "Tenants."),
    LazyCommand("key", f"{_CLI}.api_keys", "API keys of a tenant."),
    LazyCommand("endpoint", f"{_CLI}.endpoints", "Endpoints: receivers of events, and their secrets."),
    LazyCommand("event", f"{_CLI}.events", "Events that producers sent."),
    LazyCommand("event-type", f"{_CLI}.event_types", "Event types of the catalogue."),
    LazyCommand("delivery", f"{_CLI}.deliveries", "Deliveries: one event owed to one endpoint."),
    LazyCommand(
        "attempt",
        f"{_CLI}.deliveries",
        "Attempts: one HTTP exchange for a delivery.",
        attribute="attempts_app",
    ),
    LazyCommand("replay", f"{_CLI}.replays", "Replays: many deliveries sent again."),
    LazyCommand("export", f"{_CLI}.exports", "Exports: search results as a file."),
    LazyCommand("person", f"{_CLI}.users", "Users of the console."),
    LazyCommand("outbox", f"{_CLI}.outbox", "An application's outbox: events in its own database."),
    LazyCommand("ingest", f"{_CLI}.dead_letters", "Messages from RabbitMQ that were refused."),
    LazyCommand("serve", f"{_PROCESSES}.serve", "Run one process of an engine, until SIGTERM or Ctrl-C."),
    LazyCommand("db", f"{_CLI}.database", "The database schema and retention."),
    LazyCommand("secrets", f"{_CLI}.secrets", "Keys that encrypt secrets at rest."),
)

app = create_app(COMMANDS)
