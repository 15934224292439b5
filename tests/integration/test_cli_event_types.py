"""The catalogue on the command line: declared, shown, deprecated, exported, and events made from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.integration.test_cli import Cli, cli, database, tenant

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cli", "database", "tenant"]  # the fixtures

SCHEMA = {"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}}
EVIL = "\x1b]0;owned\x07\x1b[2J"


def put(cli: Cli, tmp_path: Path, name: str, *more: str) -> str:
    """Declare a type with a schema and an example from files."""
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "example.json").write_text('{"order": 1042, "note": "' + r"\u001b]0;owned" + '"}')
    files = ("--schema", f"@{tmp_path}/schema.json", "--example", f"@{tmp_path}/example.json")
    return cli.good("event-type", "put", name, *files, *more)


def test_a_type_is_declared_shown_listed_deprecated_and_archived(cli: Cli, tmp_path: Path):
    name = "cli.order_created"
    assert put(cli, tmp_path, name, "--description", f"Ordered.{EVIL}") == f"{name} is new, in version 1.\n"
    assert put(cli, tmp_path, name) == f"{name} is declared, in version 1.\n"
    shown = cli.good("event-type", "show", name)
    assert '"required": [' in shown
    assert '"order": 1042' in shown
    assert "\x1b" not in shown + cli.good("event-type", "list")
    result = cli.json("event-type", "show", name)
    assert (result["schema"], result["version"], result["validation"]) == (SCHEMA, 1, "off")
    assert result["versions"][0]["made_by"].startswith("cli:")
    cli.good("event-type", "deprecate", name, "--until", "2031-06-30T00:00:00Z", "--replaced-by", "a.b")
    (one,) = [each for each in cli.json("event-type", "list")["items"] if each["name"] == name]
    assert one["deprecated"]["replaced_by"] == "a.b"
    assert "deprecated" in cli.good("event-type", "list")
    assert cli.json("event-type", "deprecate", name, "--undo")["deprecated"] is None
    assert cli.good("event-type", "archive", name) == f"{name} is archived.\n"
    assert name not in cli.good("event-type", "list")
    assert name in cli.good("event-type", "list", "--archived")


def test_catalogue_example_is_accepted_and_schema_violations_are_refused(
    cli: Cli, tenant: str, tmp_path: Path
):
    name = "cli.order_held"
    put(cli, tmp_path, name, "--validation", "reject")
    event = cli.good("event", "send", "--tenant", tenant, "--example", name).strip()
    sent = cli.json("event", "show", "--tenant", tenant, event)
    assert (sent["type"], sent["body"]["data"]["order"]) == (name, 1042)
    code, _, err = cli.run("event", "send", "--tenant", tenant, "--type", name, "--data", '{"order": "1"}')
    assert (code, "data.order: is not as the schema" in err) == (1, True)
    cli.good("event-type", "validate", name, "off")
    cli.good("event", "send", "--tenant", tenant, "--type", name, "--data", '{"order": "1"}')
    for wrong in ([], ["--type", name], ["--type", name, "--data", "1", "--example", name]):
        code, _, err = cli.run("event", "send", "--tenant", tenant, *wrong)
        assert (code, "--example alone" in err) == (2, True)


def test_a_test_event_of_a_type_needs_its_example(cli: Cli, tenant: str):
    endpoint = cli.json("endpoint", "create", "--tenant", tenant, "https://shop.example/in")["id"]
    code, _, err = cli.run("endpoint", "test", "--tenant", tenant, endpoint, "--type", "cli.nothing")
    assert (code, "There is no event type cli.nothing." in err) == (1, True)
    cli.good("event-type", "put", "cli.something", "--example", "[1, 2]")
    sent = cli.json("endpoint", "test", "--tenant", tenant, endpoint, "--type", "cli.something")
    assert (sent["type"], sent["deliveries"]) == ("cli.something", 1)


def test_the_catalogue_is_exported_as_the_api_does(cli: Cli):
    cli.good("event-type", "put", "cli.exported", "--example", "1")
    for form, version in (("openapi", "3.1.0"), ("asyncapi", "3.0.0")):
        document = json.loads(cli.good("event-type", "export", "--format", form))
        assert document[form] == version
        assert "cli.exported" in document["components"]["schemas"]


def test_what_is_no_json_is_named(cli: Cli):
    code, _, err = cli.run("event-type", "put", "cli.order", "--schema", "{")
    assert (code, "schema: is not JSON" in err) == (1, True)
