"""Refused messages on the command line: list, retry, discard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.domain.ids import Prefix, format_id, new_id, parse_id
from tests.integration.test_cli import Cli, cli, database, tenant
from tests.support.postgres import connect

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["cli", "database", "tenant"]  # the fixtures

EVENT = b'{"type": "order.created", "data": 1}'
EVIL = "\x1b]0;owned\x07\x1b[2J"


def set_aside(
    database: str, body: bytes, *, tenant_id: UUID | None = None, why: str = "body: is not JSON"
) -> str:
    """A dead letter with control characters for the terminal."""
    id_ = new_id()
    with connect(database) as connection:
        connection.execute(
            """
            insert into refused_messages (id, tenant_id, message_id, publisher, body, size, reason,
                                          fingerprint, first_at, last_at)
            values (%s, %s, %s, %s, %s, %s, %s, %s, now(), now())
            """,
            [id_, tenant_id, f"m-{id_.hex}", EVIL, body, len(body), why, id_.bytes],
        )
    return format_id(Prefix.MESSAGE, id_)


def test_a_message_is_listed_shown_and_tried_again_for_whom_it_is(cli: Cli, database: str, tenant: str):
    message = set_aside(database, EVENT)
    listed = cli.good("ingest", "list")
    assert message in listed
    assert "body: is not JSON" in listed
    shown = cli.good("ingest", "show", message)
    assert "tenant      not known" in shown
    assert EVENT.decode() in shown
    assert "\x1b" not in listed + shown
    assert cli.json("ingest", "show", message)["body"] == EVENT.decode()
    code, _, err = cli.run("ingest", "retry", message)
    assert (code, "tenant_id: is needed" in err) == (1, True)
    event = cli.good("ingest", "retry", message, "--tenant", tenant, "--reason", "ours").strip()
    assert cli.json("event", "show", "--tenant", tenant, event)["type"] == "order.created"
    assert message not in cli.good("ingest", "list")
    (entry, *_) = cli.json("audit", "--tenant", tenant)["items"]
    assert (entry["what"], entry["reason"]) == ("message.retried", "ours")


def test_what_is_still_no_event_stays_until_it_is_thrown_away(cli: Cli, database: str, tenant: str):
    message = set_aside(database, b"?", tenant_id=parse_id(Prefix.TENANT, tenant))
    code, _, err = cli.run("ingest", "retry", message)
    assert (code, "is not JSON" in err) == (1, True)
    assert cli.good("ingest", "discard", message, "--reason", "noise") == f"{message} is discarded.\n"
    code, _, err = cli.run("ingest", "show", message)
    assert (code, message in err) == (1, True)


def test_lists_are_read_page_by_page(cli: Cli, database: str):
    made = [set_aside(database, b"?") for _ in range(3)]
    page = cli.json("ingest", "list", "--limit", "2")
    rest = cli.json("ingest", "list", "--limit", "1", "--before", page["next"])
    assert [one["id"] for one in page["items"] + rest["items"]] == made[::-1]


def test_dead_letters_can_be_retried_or_discarded_by_reason(cli: Cli, database: str, tenant: str):
    cli.good("ingest", "discard", "--all")  # what other tests left
    for number in range(120):
        set_aside(database, EVENT, why="The header holds no API key that is known." if number % 2 else "x")
    still = set_aside(database, b"?", why="The header holds no API key that is known.")
    words = ("ingest", "retry", "--reason-like", "no api key")
    assert cli.good(*words) == "0 were accepted. 61 are still refused.\n"
    result = cli.good(*words, "--tenant", tenant, "--reason", "mended")
    assert result == "60 were accepted. 1 are still refused.\n"
    assert cli.json("ingest", "discard", "--reason-like", "NO API KEY") == {"done": 1, "left": 0}
    assert still not in cli.good("ingest", "list", "--limit", "100")
    assert cli.good("ingest", "discard", "--all") == "60 were discarded.\n"
    assert cli.good("ingest", "retry", "--all") == "0 were accepted.\n"


def test_which_messages_are_meant_has_to_be_said(cli: Cli, database: str):
    message = set_aside(database, b"?")
    for words in ((), (message, "--all"), ("--all", "--reason-like", "x"), ("--reason-like", "")):
        code, _, err = cli.run("ingest", "discard", *words)
        assert (code, "Name a message" in err) == (2, True)
    code, _, err = cli.run("ingest", "retry", "--all", "--idempotency-key", "k")
    assert (code, "works with one message" in err) == (2, True)
    assert message in cli.good("ingest", "list")
