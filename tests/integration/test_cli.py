"""The command line on a real ledger."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher

from delivery.cli.commands.exports import open_atomic_file
from delivery.domain.ids import Prefix, new_id, parse_id
from delivery.domain.secret_box import generate_key
from delivery.ledger.db.partitions import day_id_bounds
from tests.support.postgres import connect
from tests.support.receivers import CertificateAuthority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import DatabaseServer

WAYBILL = Path(sys.executable).with_name("waybill")
# Every command in one process after another would spend its time importing; `main` is what the script calls.
SEVERAL = """
import contextlib, io, json, sys
from workers.main import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(json.loads(line))
        except SystemExit as end:
            code = end.code
    print(json.dumps([code or 0, out.getvalue(), err.getvalue()]), flush=True)
"""


class Cli:
    """A person at a terminal, with one tenant."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; returns its exit code and what it printed on stdout and stderr."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        code, out, err = json.loads(self._process.stdout.readline())
        return code, out, err

    def good(self, *arguments: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        code, out, err = self.run(*arguments)
        assert code == 0, err
        return out

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed with --json."""
        return json.loads(self.good(*arguments, "--json"))


def _environment(database_url: str) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    return others | {"WAYBILL_DATABASE_URL": database_url, "WAYBILL_SECRET_KEYS": generate_key()}


@pytest.fixture(scope="module")
def database(database_server: DatabaseServer, migrated_template: str) -> Iterator[str]:
    """The ledger of these tests, each of which has a tenant of its own."""
    with database_server.database(template=migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def cli(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The command line, in a folder without an engine."""
    with subprocess.Popen(
        [sys.executable, "-c", SEVERAL],
        env=_environment(database),
        cwd=tmp_path_factory.mktemp("cli"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        cli = Cli(process)
        assert cli.good("db", "upgrade") == "The ledger's schema is up to date.\n"
        yield cli
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def tenant(cli: Cli) -> str:
    """The id of a tenant."""
    return cli.good("tenant", "create", "Acme Books").strip()


def test_from_a_tenant_to_a_delivery(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json("endpoint", "create", "https://shop.example/hooks", *of_tenant, "--filter", "order.*")
    assert made["secret"].startswith("whsec_")
    answer = cli.json("event", "send", *of_tenant, "--type", "order.created", "--data", '{"total": 1.10}')
    assert answer["deliveries"] == 1
    (owed,) = cli.json("delivery", "list", *of_tenant, "--event", answer["id"])["items"]
    assert (owed["status"], owed["endpoint_id"]) == ("pending", made["id"])
    shown = cli.good("delivery", "show", *of_tenant, owed["id"])
    assert "pending: due now" in shown
    assert "https://shop.example/hooks" in shown
    assert "No attempt was made yet." in shown
    assert '"data":{"total": 1.10}}' in cli.good("event", "show", *of_tenant, answer["id"])


def test_a_key_is_shown_once(cli: Cli, tenant: str):
    code, out, err = cli.run("key", "create", "--tenant", tenant, "order service")
    assert code == 0
    key = out.strip()
    assert key.startswith("wbk_")
    assert "will not be shown again" in err
    listed = cli.good("key", "list", "--tenant", tenant)
    assert "order service" in listed
    assert key not in listed
    (kept,) = cli.json("key", "list", "--tenant", tenant)["items"]
    cli.good("key", "revoke", "--tenant", tenant, kept["id"])
    assert cli.json("key", "list", "--tenant", tenant)["items"][0]["revoked_at"] is not None


def test_an_endpoints_secret_is_shown_where_it_is_made_and_nowhere_else(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json("endpoint", "create", "https://shop.example/hooks", *of_tenant)
    rotated = cli.json("endpoint", "rotate-secret", *of_tenant, made["id"])
    shown = cli.good("endpoint", "show", *of_tenant, made["id"])
    assert rotated["key_id"] in shown
    assert "whsec_" not in shown
    pair = cli.good("endpoint", "create", "https://shop.example/v1a", *of_tenant, "--signature", "v1a")
    assert "Public key: whpk_" in pair


def test_an_endpoint_is_changed_paused_resumed_and_deleted(cli: Cli, tenant: str, database: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json(
        *("endpoint", "create", "https://shop.example/hooks", *of_tenant, "--header", "X-Token: s3cret"),
        *("--schedule", "0,5s,5m", "--timeout", "10"),
    )
    one = (*of_tenant, made["id"])
    assert (made["headers"], made["schedule"], made["timeout_seconds"]) == (
        {"X-Token": "***"},
        [0, 5, 300],
        10,
    )
    changed = cli.json("endpoint", "update", *one, "--schedule", "default", "--header", "X-Token:")
    assert (changed["headers"], changed["schedule"], changed["timeout_seconds"]) == ({}, None, 10)
    assert "paused" in cli.good("endpoint", "pause", *one, "--reason", "moving house")
    event = cli.json("endpoint", "test", *one)
    (owed,) = cli.json("delivery", "list", *of_tenant, "--event", event["id"])["items"]
    code, _, err = cli.run("delivery", "replay", *of_tenant, owed["id"])
    assert code == 1
    assert "is paused" in err
    assert "held, because its endpoint is paused" in cli.good("delivery", "show", *of_tenant, owed["id"])
    assert "active" in cli.good("endpoint", "resume", *one)
    assert "pending: due now" in cli.good("delivery", "replay", *of_tenant, owed["id"])
    with connect(database) as connection:
        actors = connection.execute("select distinct state_actor from endpoints").fetchall()
    assert actors == [(f"cli:{getpass.getuser()}",)]
    code, _, err = cli.run("endpoint", "delete", *one)
    assert (code, err) == (
        2,
        "waybill: Confirm with --yes: the endpoint's pending deliveries will be cancelled.\n",
    )
    cli.good("endpoint", "delete", *one, "--yes")
    assert "(deleted)" in cli.good("delivery", "show", *of_tenant, owed["id"])


def test_an_endpoint_has_limits_of_its_own(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json(
        *("endpoint", "create", "https://shop.example/hooks", *of_tenant, "--operational"),
        *("--in-flight-max", "20", "--rate-limit", "100/1m", "--disable-after-hours", "36"),
        *("--breaker", "consecutive_failures=5", "--breaker", "failure_ratio=0.25"),
        *("--permanent-status", "404", "--permanent-status", "422"),
    )
    one = (*of_tenant, made["id"])
    assert made["operational"] is True
    assert (made["in_flight_max"], made["disable_after_hours"]) == (20, 36)
    assert made["rate_limit"] == {"limit": 100, "per_seconds": 60}
    assert made["breaker"] == {"consecutive_failures": 5, "failure_ratio": 0.25}
    assert made["permanent_statuses"] == [404, 422]
    shown = cli.good("endpoint", "show", *one)
    for line in ("at most 20", "100 in 60 s", "consecutive_failures=5, failure_ratio=0.25", "404 422"):
        assert line in shown
    changed = cli.json(
        "endpoint", "update", *one, "--breaker", "window_seconds=30", "--in-flight-max", "default"
    )
    assert (changed["in_flight_max"], changed["breaker"]) == (None, {"window_seconds": 30})
    assert changed["rate_limit"] == made["rate_limit"]
    reset = cli.json(
        *("endpoint", "update", *one, "--rate-limit", "none", "--breaker", "default"),
        *("--disable-after-hours", "default", "--permanent-status", "none"),
    )
    assert (reset["rate_limit"], reset["breaker"], reset["disable_after_hours"]) == (None, None, None)
    assert reset["permanent_statuses"] == []


def test_an_endpoint_chooses_how_its_events_are_written(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json(
        "endpoint", "create", "https://shop.example/", *of_tenant, "--format", "cloudevents_binary"
    )
    assert (made["format"], made["payload"]) == ("cloudevents_binary", "full")
    changed = cli.json("endpoint", "update", *of_tenant, made["id"], "--payload", "thin")
    assert (changed["format"], changed["payload"]) == ("cloudevents_binary", "thin")
    assert "cloudevents_binary, thin" in cli.good("endpoint", "show", *of_tenant, made["id"])
    for option in ("--format", "--payload"):
        code, _, err = cli.run("endpoint", "update", *of_tenant, made["id"], option, "xml")
        assert code == 2
        assert option in err
        assert "'xml' is not one of" in err


def test_an_endpoint_is_given_a_client_certificate(cli: Cli, tenant: str, tmp_path: Path):
    own = tmp_path / "waybill.pem"
    own.write_text(
        "\n".join(
            CertificateAuthority().make_client_certificate(
                "waybill", until=datetime.now(UTC) + timedelta(days=30)
            )
        )
    )
    of_tenant = ("--tenant", tenant)
    made = cli.json("endpoint", "create", "https://shop.example/in", *of_tenant, "--client-cert", f"@{own}")
    assert "CN=waybill" in made["client_certificate"]["subject"]
    shown = cli.good("endpoint", "show", *of_tenant, made["id"])
    assert "CN=waybill" in shown
    assert "PRIVATE" not in shown
    taken = cli.json("endpoint", "update", *of_tenant, made["id"], "--client-cert", "none")
    assert taken["client_certificate"] is None


def test_an_endpoint_is_disabled_previewed_and_enabled(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json("endpoint", "create", "https://shop.example/hooks", *of_tenant)
    one = (*of_tenant, made["id"])
    event = cli.json("endpoint", "test", *one)
    (owed,) = cli.json("delivery", "list", *of_tenant, "--event", event["id"])["items"]
    result = cli.good("endpoint", "disable", *one, "--reason", "the shop has closed")
    assert "disabled: since now, by cli:" in result
    assert "The shop has closed." in result
    code, _, err = cli.run("endpoint", "resume", *one)
    assert code == 1
    assert "not paused. Enable it" in err
    preview = cli.good("endpoint", "enable", *one, "--dry-run")
    assert "1 delivery" in preview
    assert owed["id"] in preview
    assert "Nothing was changed." in preview
    result = cli.json("endpoint", "enable", *one, "--dry-run")
    assert (result["state"], result["held"], result["at_first"], result["up_to"]) == ("disabled", 1, 1, 50)
    enabled = cli.json("endpoint", "enable", *one, "--reason", "it is back")
    assert (enabled["state"], enabled["state_reason"]) == ("active", "it is back")
    assert "enabling it changes nothing" in cli.good("endpoint", "enable", *one, "--dry-run")


def test_an_endpoint_s_health_is_told_to_people_and_to_machines(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json("endpoint", "create", "https://shop.example/hooks", *of_tenant)
    one = (*of_tenant, made["id"])
    cli.good("endpoint", "test", *one)
    shown = cli.good("endpoint", "health", *one)
    assert "nothing holds it" in shown
    assert "1 delivery that no worker has" in shown
    assert "closed: since" in shown
    assert "0 of at most 10 (of 50 at full speed), going up" in shown
    assert "no attempt" in shown
    cli.good("endpoint", "pause", *one, "--reason", "moving house")
    shown = cli.good("endpoint", "health", *one)
    assert "1 delivery, because its endpoint is paused; oldest: dlv_" in shown
    assert "Moving house." in shown
    result = cli.json("endpoint", "health", *one)
    assert (result["hold"], result["held"], result["last_hour"]["attempts"]) == ("paused", 1, 0)


def test_what_an_endpoint_was_owed_is_told_by_number(cli: Cli, tenant: str, database: str):
    of_tenant = ("--tenant", tenant)
    endpoint = cli.json("endpoint", "create", "https://shop.example/hooks", *of_tenant)["id"]
    assert cli.good("endpoint", "events", *of_tenant, endpoint) == (
        "Nothing was sent after 0; the last number is 0.\n"
    )
    sent = [cli.good("event", "send", *of_tenant, "--type", "a", "--data", "1").strip() for _ in range(2)]
    number = """
        with numbered as (
            select d.id, d.endpoint_id, row_number() over (order by d.id) as sequence
            from deliveries d where d.endpoint_id = %(id)s
        ), entered as (
            insert into endpoint_sequence (endpoint_id, sequence, delivery_id)
            select endpoint_id, sequence, id from numbered
        )
        update endpoint_health set sequence = 2 where endpoint_id = %(id)s
    """
    with connect(database) as connection:
        connection.execute(number, {"id": parse_id(Prefix.ENDPOINT, endpoint)})
    result = cli.json("endpoint", "events", *of_tenant, endpoint, "--limit", "1")
    assert [(one["sequence"], one["event_id"]) for one in result["items"]] == [(1, sent[0])]
    assert (result["next"], result["earliest"], result["latest"]) == (1, 1, 2)
    shown = cli.good("endpoint", "events", *of_tenant, endpoint, "--after", "1")
    assert sent[1] in shown
    assert sent[0] not in shown
    assert cli.run("endpoint", "events", *of_tenant, endpoint, "--after", "-1")[0] == 2


def test_an_events_content_is_erased_when_somebody_means_it(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    cli.good("endpoint", "create", "https://shop.example/hooks", *of_tenant)
    event = cli.json("event", "send", *of_tenant, "--type", "a", "--data", '"4111 1111"')["id"]
    code, _, err = cli.run("event", "erase", *of_tenant, event)
    assert (code, err) == (2, "waybill: Confirm with --yes: erased content cannot be restored.\n")
    code, _, err = cli.run("event", "erase", *of_tenant, event, "--yes")
    assert (code, err[:40]) == (1, "waybill: There is 1 pending delivery of ")
    said = cli.good("event", "erase", *of_tenant, event, "--yes", "--cancel-pending", "--reason", "asked")
    assert said == f"The content of {event} is erased.\n"
    assert cli.json("event", "erase", *of_tenant, event, "--yes")["erased_at"] is not None
    assert "erased 20" in cli.good("event", "show", *of_tenant, event)
    result = cli.json("event", "show", *of_tenant, event)
    assert (result["body"], result["erased_at"] is None) == (None, False)
    newest = cli.json("audit", *of_tenant)["items"][0]
    assert (newest["what"], newest["reason"]) == ("event.content_erased", "asked")
    assert newest["details"] == {"event_id": event, "cancelled": 1}


def test_why_a_delivery_is_where_it_is_is_told_in_words_and_in_json(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json("endpoint", "create", "https://shop.example/hooks", *of_tenant, "--filter", "order.*")
    cli.good("endpoint", "pause", *of_tenant, made["id"], "--reason", "moving house")
    event = cli.json("event", "send", *of_tenant, "--type", "order.created", "--data", "1")
    (owed,) = cli.json("delivery", "list", *of_tenant, "--event", event["id"])["items"]
    assert owed["held"]["by"] == "paused"
    assert "held: paused" in cli.good("delivery", "list", *of_tenant)
    result = cli.json("delivery", "why", *of_tenant, owed["id"])
    assert [step["what"] for step in result["steps"]] == [
        "endpoint.paused",
        "event.accepted",
        "delivery.matched",
    ]
    said = cli.good("delivery", "why", *of_tenant, owed["id"])
    assert result["standing"] in said
    assert result["standing"].startswith("Held: the endpoint has been paused since ")
    assert all(step["sentence"] in said for step in result["steps"])


def test_why_an_event_went_nowhere_is_told_in_words_and_in_json(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json("endpoint", "create", "https://shop.example/hooks", *of_tenant, "--filter", "order.*")
    event = cli.json("event", "send", *of_tenant, "--type", "invoice.paid", "--data", "1")
    result = cli.json("event", "why", *of_tenant, event["id"])
    (fate,) = result["endpoints"]
    assert (fate["endpoint_id"], fate["verdict"]) == (made["id"], "not_asked_for")
    said = cli.good("event", "why", *of_tenant, event["id"])
    assert "It was owed to no endpoint: the only one did not subscribe to invoice.paid." in said
    assert "Its filter includes order.*, but not invoice.paid." in said


@pytest.mark.parametrize(("noun", "prefix"), [("delivery", "dlv"), ("event", "evt")])
def test_why_command_rejects_malformed_ids(cli: Cli, tenant: str, noun: str, prefix: str):
    code, out, err = cli.run(noun, "why", "--tenant", tenant, "ep_01m82bjx09e96bahvpn78mz28c")
    assert (code, out) == (2, "")
    assert f"is not an id of the form {prefix}_…" in err


def test_an_event_sent_twice_under_one_key_is_one_event(cli: Cli, tenant: str, tmp_path: Path):
    send = ("event", "send", "--tenant", tenant, "--type", "order.created", "--idempotency-key", "order-1042")
    (tmp_path / "order.json").write_text('{"order":\n1042}\n')
    first = cli.good(*send, "--data", f"@{tmp_path}/order.json")
    code, second, err = cli.run(*send, "--data", '{"order":\n1042}')
    assert (code, second) == (0, first)
    assert "accepted before" in err
    code, _, err = cli.run(*send, "--data", "{}")
    assert code == 1
    assert err.startswith("waybill: This Idempotency-Key was used before")


def test_lists_go_on_where_they_ended(cli: Cli, tenant: str):
    for number in range(3):
        cli.good("event", "send", "--tenant", tenant, "--type", "order.created", "--data", str(number))
    first = cli.json("event", "list", "--tenant", tenant, "--limit", "2")
    rest = cli.json("event", "list", "--tenant", tenant, "--limit", "2", "--before", first["next"])
    assert (len(first["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)
    assert cli.json("event", "list", "--tenant", tenant, "--until", "1h") == {"items": [], "next": None}
    _, out, err = cli.run("event", "list", "--tenant", tenant, "--limit", "1")
    assert len(out.splitlines()) == 2
    assert "--before evt_" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["event", "send", "--type", "order created", "--data", "1"], "type: An event type is made of"),
        (["event", "send", "--type", "order", "--data", "{"], "data: is not JSON"),
        (["event", "send", "--type", "order", "--data", '1,"type":"b"'], "data: is not JSON"),
        (["event", "send", "--type", "order", "--data", "1", "--idempotency-key", "ö"], "idempotency-key: "),
        (["endpoint", "create", "http://shop.example"], "url: The URL must begin with https://"),
        (["endpoint", "create", "https://127.0.0.1/"], "url: The URL leads to where nothing is sent"),
        (["endpoint", "create", "https://a.example", "--header", "webhook-id: x"], "headers.webhook-id: "),
        (["endpoint", "create", "https://a.example", "--secret", "whsec_x"], "secret: "),
        (["endpoint", "create", "https://a.example", "--in-flight-max", "0"], "in_flight_max: must be"),
        (["endpoint", "create", "https://a.example", "--rate-limit", "5/2d"], "rate_limit.per_seconds: must"),
        (["endpoint", "create", "https://a.example", "--rate-limit", "0/s"], "rate_limit.limit: must be"),
        (["endpoint", "create", "https://a.example", "--breaker", "trips=5"], "breaker.trips: is not one of"),
        (
            ["endpoint", "create", "https://a.example", "--breaker", "failure_ratio=nan"],
            "breaker.failure_ratio: ",
        ),
        (
            ["endpoint", "create", "https://a.example", "--disable-after-hours", "inf"],
            "disable_after_hours: ",
        ),
        (["endpoint", "create", "https://a.example", "--permanent-status", "500"], "permanent_statuses.0: "),
        (["endpoint", "show", "ep_01m82bjx09e96bahvpn78mz28c"], "There is no endpoint ep_01m8"),
        (["endpoint", "health", "ep_01m82bjx09e96bahvpn78mz28c"], "There is no endpoint ep_01m8"),
        (["endpoint", "disable", "ep_01m82bjx09e96bahvpn78mz28c"], "There is no endpoint ep_01m8"),
        (
            ["endpoint", "enable", "ep_01m82bjx09e96bahvpn78mz28c", "--dry-run"],
            "There is no endpoint ep_01m8",
        ),
        (["endpoint", "events", "ep_01m82bjx09e96bahvpn78mz28c"], "There is no endpoint ep_01m8"),
        (["delivery", "show", "dlv_01m82bjx09e96bahvpn78mz28c"], "There is no delivery dlv_01m8"),
        (["delivery", "why", "dlv_01m82bjx09e96bahvpn78mz28c"], "There is no delivery dlv_01m8"),
        (["event", "why", "evt_01m82bjx09e96bahvpn78mz28c"], "There is no event evt_01m8"),
        (["attempt", "show", "att_01m82bjx09e96bahvpn78mz28c"], "There is no attempt att_01m8"),
        (["attempt", "erase", "--yes", "att_01m82bjx09e96bahvpn78mz28c"], "There is no attempt att_01m8"),
        (["event", "erase", "--yes", "evt_01m82bjx09e96bahvpn78mz28c"], "There is no event evt_01m8"),
    ],
)
def test_what_is_refused_is_refused_in_one_line_and_nothing_is_stored(
    cli: Cli, tenant: str, arguments: list[str], said: str
):
    code, out, err = cli.run(*arguments, "--tenant", tenant)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith(f"waybill: {said}")
    assert cli.json("event", "list", "--tenant", tenant)["items"] == []
    assert cli.json("endpoint", "list", "--tenant", tenant)["items"] == []


def test_an_export_is_a_file_that_is_whole(cli: Cli, tenant: str, tmp_path: Path):
    of_tenant = ("--tenant", tenant)
    cli.good("endpoint", "create", "https://shop.example/hooks", *of_tenant)
    for number in range(3):
        cli.good("event", "send", *of_tenant, "--type", "order.created", "--data", str(number))
    file = tmp_path / "deliveries.jsonl"
    result = cli.json("export", "deliveries", *of_tenant, "--all", "-o", str(file))
    assert result == {"file": str(file), "rows": 3}
    listed = cli.json("delivery", "search", *of_tenant, "--oldest-first")["items"]
    exported = [json.loads(line) for line in file.read_text().splitlines()]
    assert [one["id"] for one in exported] == [one["id"] for one in listed]
    cli.good("export", "attempts", *of_tenant, "--all", "--format", "csv", "-o", str(file))
    assert file.read_text().startswith("id,delivery_id,")
    assert list(tmp_path.iterdir()) == [file]


def test_an_export_without_a_file_goes_to_standard_output(database: str, tmp_path: Path):
    result = subprocess.run(
        [WAYBILL, "export", "deliveries", "--format", "csv", "--type", "no.such"],
        env=_environment(database), cwd=tmp_path, capture_output=True, check=True,
    )  # fmt: skip
    assert result.stdout.startswith(b"id,tenant_id,")
    assert result.stdout.count(b"\r\n") == 1
    assert result.stderr == b""


def test_an_export_that_is_given_up_leaves_the_file_as_it_was(tmp_path: Path):
    file = tmp_path / "deliveries.csv"
    file.write_bytes(b"of yesterday")
    with pytest.raises(KeyboardInterrupt), open_atomic_file(file) as written:  # noqa: PT012  it is the middle that counts
        written.write(b"half")
        raise KeyboardInterrupt
    assert file.read_bytes() == b"of yesterday"
    assert list(tmp_path.iterdir()) == [file]


def test_an_export_to_where_nothing_can_be_written_is_wrong_usage(cli: Cli, tmp_path: Path):
    code, _, err = cli.run("export", "deliveries", "--all", "-o", str(tmp_path / "missing" / "file"))
    assert code == 2
    assert "cannot be written" in err


def test_an_upgrade_of_an_empty_database_makes_it_ready(empty_database_url: str, tmp_path: Path):
    def waybill(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [WAYBILL, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    environment = _environment(empty_database_url)
    before = waybill("tenant", "list")
    assert (before.returncode, before.stdout) == (3, "")
    assert before.stderr.startswith(
        "waybill: The ledger is not ready for this release: run `waybill db upgrade`."
    )
    assert waybill("db", "upgrade").returncode == 0
    assert "There is no tenant yet" in waybill("tenant", "list").stdout


def test_a_port_that_is_taken_is_named_and_every_line_is_of_one_form(database: str, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = _environment(database) | {"WAYBILL_PORT": str(port), "WAYBILL_LOG_FORMAT": "json"}
        result = subprocess.run(
            [WAYBILL, "serve", "web"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 2
    *logged, last = result.stderr.splitlines()
    assert last.startswith(f"waybill: Cannot listen on 127.0.0.1:{port} ")
    assert [json.loads(line)["level"] for line in logged] == ["error"]


def test_a_ledger_that_does_not_answer_has_an_exit_code_of_its_own(tmp_path: Path):
    environment = _environment("postgresql://127.0.0.1:1/nothing")
    for command in (["tenant", "list"], ["db", "upgrade"]):
        result = subprocess.run(
            [WAYBILL, *command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 3
        assert result.stderr.startswith("waybill: The ledger does not answer")
        assert len(result.stderr.splitlines()) == 1


def test_a_replay_is_looked_at_begun_listed_paused_and_cancelled(cli: Cli, tenant: str) -> None:
    of_tenant = ("--tenant", tenant)
    endpoint = cli.json("endpoint", "create", *of_tenant, "https://shop.example/in")["id"]
    cli.good("event", "send", *of_tenant, "--type", "order.created", "--data", "{}")
    asked = (*of_tenant, "--endpoint", endpoint, "--reason", "they lost it")
    result = cli.json("replay", "create", *asked, "--dry-run")
    assert (result["count"], result["exact"], result["by_status"]) == (1, True, {"pending": 1})
    assert "Nothing was changed." in cli.good("replay", "create", *asked, "--dry-run")
    assert "There are no replays." in cli.good("replay", "list", *of_tenant)
    made = cli.json("replay", "create", *asked, "--rate", "5")
    assert (made["state"], made["rate"], made["actor"]) == ("running", 5, f"cli:{getpass.getuser()}")
    one = (*of_tenant, made["id"])
    assert "0 of 0 found so far" in cli.good("replay", "show", *one)
    assert "is paused" in cli.good("replay", "pause", *one, "--reason", "wait")
    watched = cli.json("replay", "show", *one, "--watch")  # a pause ends the watch
    assert watched["state"] == "paused"
    assert cli.json("replay", "resume", *one)["state"] == "running"
    assert "is cancelling" in cli.good("replay", "cancel", *one)
    assert [each["id"] for each in cli.json("replay", "list", *of_tenant)["items"]] == [made["id"]]
    whats = [entry["what"] for entry in cli.json("audit", *of_tenant, "--what", "replay.*")["items"]]
    assert whats == ["replay.cancelled", "replay.resumed", "replay.paused", "replay.created"]


def test_a_recovery_is_asked_of_an_endpoint(cli: Cli, tenant: str) -> None:
    of_tenant = ("--tenant", tenant)
    endpoint = cli.json("endpoint", "create", *of_tenant, "https://shop.example/in")["id"]
    made = cli.json("endpoint", "recover", *of_tenant, endpoint, "--since", "2h")
    assert made["selection"]["endpoints"] == [endpoint]
    assert made["reason"].startswith("recovery since ")
    cli.good("endpoint", "pause", *of_tenant, endpoint)
    code, _, err = cli.run("endpoint", "recover", *of_tenant, endpoint, "--since", "2h")
    assert (code, "or replay with hold" in err) == (1, True)
    assert cli.json("endpoint", "recover", *of_tenant, endpoint, "--since", "2h", "--hold")["hold"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reason", "so"], "has no filter"),
        (["--status", "failed"], "--reason"),
        (["--status", "failed", "--reason", "so", "--rate", "0"], "--rate"),
        (["--missing", "--reason", "so"], "--missing takes one --endpoint"),
        (["--missing", "--status", "failed", "--reason", "so"], "--missing takes one --endpoint"),
        (["--since", "later", "--reason", "so"], "--since"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused(cli: Cli, tenant: str, words: list[str], said: str) -> None:
    code, _, err = cli.run("replay", "create", "--tenant", tenant, *words)
    assert code in {1, 2}
    assert said in err


def test_retention_is_run_by_hand_and_told_before(cli: Cli, database: str) -> None:
    cli.good("db", "upgrade")
    old = "events_20200105"
    first, end = day_id_bounds(date(2020, 1, 5))
    with connect(database) as sql:
        sql.execute(f"create table {old} (like events including all)".encode())
        attach = f"alter table events attach partition {old} for values from ('{first}') to ('{end}')"
        sql.execute(attach.encode())
    assert cli.json("db", "retain", "--dry-run")["drop"] == [old]
    assert old in cli.good("db", "retain", "--dry-run")
    done = cli.json("db", "retain")
    assert (done["dropped"], done["payloads"], done["more"]) == ([old], 0, False)
    assert "Nothing has expired." in cli.good("db", "retain")


def test_a_tenant_has_less_kept(cli: Cli, tenant: str) -> None:
    changed = cli.json("tenant", "change", tenant, "--keep", "payload=7", "--keep", "events=30")
    assert (changed["retention"]["payload"], changed["retention"]["attempts"]) == (7, None)
    assert "7 days" in cli.good("tenant", "show", tenant)
    code, _, err = cli.run("tenant", "change", tenant, "--keep", "payload=1000")
    assert code == 1
    assert "retention.payload" in err
    assert cli.run("tenant", "change", tenant, "--keep", "payload=7", "--keep-default")[0] == 2
    assert cli.run("tenant", "change", tenant, "--keep", "payload=soon")[0] == 2
    assert set(cli.json("tenant", "change", tenant, "--keep-default")["retention"].values()) == {None}


def test_an_account_is_made_with_a_password_that_is_shown_once(cli: Cli):
    code, out, err = cli.run("person", "create", "joe@example.com", "Joe Doe", "--generate")
    assert code == 0
    assert len(out.strip()) == 24
    assert "will not be shown again" in err
    listed = cli.good("person", "list")
    assert "joe@example.com" in listed
    assert out.strip() not in listed


def test_an_account_is_changed_and_disabled_by_its_address_or_its_id(cli: Cli):
    made = cli.json("person", "create", "mia@example.com", "Mia", "--role", "support", "--generate")
    assert (made["role"], made["disabled_at"], len(made["password"])) == ("support", None, 24)
    assert cli.json("person", "change", "Mia@Example.com", "--role", "viewer")["role"] == "viewer"
    disabled = cli.json("person", "change", made["id"], "--disable", "--reason", "left")
    assert disabled["disabled_at"] is not None
    assert cli.json("person", "change", made["id"], "--enable")["disabled_at"] is None
    (entry,) = cli.json("audit", "--what", "person.disabled")["items"]
    assert (entry["tenant_id"], entry["reason"]) == (None, "left")
    assert entry["sentence"].startswith("The account of Mia <mia@example.com> was disabled by cli:")
    code, _, err = cli.run("person", "change", "nobody@example.com", "--disable")
    assert (code, err) == (1, "waybill: There is no account nobody@example.com.\n")


def test_the_last_admin_cannot_be_disabled(cli: Cli):
    cli.good("person", "create", "boss@example.com", "Boss", "--role", "admin", "--generate")
    code, _, err = cli.run("person", "change", "boss@example.com", "--disable")
    assert code == 1
    assert "the last admin" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "use --generate or --password-stdin"),
        (("--generate", "--password-stdin"), "exclude each other"),
    ],
)
def test_a_password_comes_from_one_place(cli: Cli, arguments: tuple[str, ...], said: str):
    code, out, err = cli.run("person", "create", "eve@example.com", "Eve", *arguments)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("correct horse battery\n", 0, "usr_"),
        ("correct horse battery\r\n", 0, "usr_"),
        ("correct horse battery", 0, "usr_"),
        ("too short\n", 1, "password: must have 12 to 200 characters, not 9"),
        ("\udcff" * 12, 2, "not UTF-8"),
    ],
)
def test_a_password_is_read_from_standard_input(database: str, given: str, code: int, said: str):
    asked = subprocess.run(
        [WAYBILL, "person", "create", f"{new_id()}@example.com", "Somebody", "--password-stdin"],
        env=_environment(database),
        input=given.encode(errors="surrogateescape"),
        capture_output=True,
        check=False,
    )
    assert asked.returncode == code, asked.stderr
    assert said in (asked.stdout + asked.stderr).decode()


def test_a_password_is_asked_for_twice_and_not_shown(database: str):
    screen, keyboard = os.openpty()
    email = f"{new_id()}@example.com"
    with subprocess.Popen(
        [WAYBILL, "person", "create", email, "Somebody"],
        env=_environment(database) | {"TERM": "dumb"},
        stdin=keyboard,
        stdout=subprocess.PIPE,
        stderr=keyboard,
        start_new_session=True,
    ) as process:
        os.close(keyboard)
        shown = b""
        for question in (b"Password: ", b"confirmation: "):
            while question not in shown:
                shown += os.read(screen, 1_000)
            os.write(screen, b"correct horse battery\n")
        out, _ = process.communicate(timeout=60)
    os.close(screen)
    assert out.startswith(b"usr_")
    assert b"horse" not in shown


def test_a_new_password_replaces_the_old_one(cli: Cli, database: str):
    made = cli.json("person", "create", "kim@example.com", "Kim", "--generate")
    renewed = cli.json("person", "set-password", "kim@example.com", "--generate")
    assert renewed["id"] == made["id"]
    assert renewed["password"] != made["password"]
    with connect(database) as connection:
        (kept,) = connection.execute(
            "select password_hash from people where email = 'kim@example.com'"
        ).fetchone() or ("",)
    assert PasswordHasher().verify(kept, renewed["password"])


def test_a_portal_link_is_printed_with_the_consoles_address(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    link = cli.good("portal-link", *of_tenant, "--label", "Joe of Acme").strip()
    assert link.startswith("http://127.0.0.1:8080/console/portal/wbl_")
    result = cli.json("portal-link", *of_tenant, "--role", "support", "--hours", "24")
    assert result["role"] == "support"
    for wrong in (("--hours", "25"), ("--hours", "nan"), ("--hours", "0"), ("--hours", "-1")):
        assert cli.run("portal-link", *of_tenant, *wrong)[0] == 2
    assert cli.run("portal-link", *of_tenant, "--role", "admin")[0] == 2
