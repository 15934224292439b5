"""Channels and conditions on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.test_cli import cli, database, tenant

if TYPE_CHECKING:
    from tests.integration.test_cli import Cli

__all__ = ["cli", "database", "tenant"]

ABOVE_100 = "total > `100`"


def test_an_endpoint_asks_for_channels_and_a_condition_until_it_does_not(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json(
        *("endpoint", "create", "https://shop.example/hooks", *of_tenant),
        *("--channel", "eu", "--channel", "us", "--condition", ABOVE_100),
    )
    assert (made["channels"], made["condition"]) == (["eu", "us"], ABOVE_100)
    one = (*of_tenant, made["id"])
    shown = cli.good("endpoint", "show", *one)
    assert "eu us" in shown
    assert ABOVE_100 in shown
    changed = cli.json("endpoint", "update", *one, "--channel", "asia")
    assert (changed["channels"], changed["condition"]) == (["asia"], ABOVE_100)
    cleared = cli.json("endpoint", "update", *one, "--channel", "none", "--condition", "none")
    assert (cleared["channels"], cleared["condition"]) == ([], None)
    code, _, err = cli.run("endpoint", "update", *one, "--condition", "total >")
    assert code == 1
    assert "This is not JMESPath" in err


def test_an_event_has_channels_and_who_was_passed_over_is_told(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    url = "https://shop.example/hooks"
    made = cli.json("endpoint", "create", url, *of_tenant, "--channel", "eu", "--condition", ABOVE_100)
    sent = ("event", "send", *of_tenant, "--type", "order.created")
    there = cli.json(*sent, "--data", '{"total": 120}', "--channel", "eu", "--channel", "us")
    assert there["deliveries"] == 1
    assert cli.json("event", "show", *of_tenant, there["id"])["channels"] == ["eu", "us"]
    assert "eu us" in cli.good("event", "show", *of_tenant, there["id"])
    elsewhere = cli.json(*sent, "--data", '{"total": 120}', "--channel", "us")
    said = cli.good("event", "why", *of_tenant, elsewhere["id"])
    assert "It is limited to the channels eu; the event is on us." in said
    small = cli.json(*sent, "--data", '{"total": 1}', "--channel", "eu")
    said = cli.good("event", "why", *of_tenant, small["id"])
    assert f"Its condition does not hold for the event: {ABOVE_100}" in said
    odd = cli.json(*sent, "--data", '{"total": "much"}', "--channel", "eu")
    (fate,) = cli.json("event", "why", *of_tenant, odd["id"])["endpoints"]
    assert fate["endpoint_id"] == made["id"]
    assert fate["condition_failed"].startswith("It compares values of different types")
    code, _, err = cli.run(*sent, "--data", "1", "--channel", "a b")
    assert code == 1
    assert "channels.0" in err


def test_a_filter_is_tried_out(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json("endpoint", "create", "https://shop.example/hooks", *of_tenant, "--filter", "order.*")
    test = ("endpoint", "filter-test", *of_tenant, made["id"])
    event = ("--type", "order.created", "--data", '{"total": 120}', "--channel", "eu")
    said = cli.good(*test, *event)
    assert said.startswith("It would be delivered to the endpoint.\n")
    assert "passes: Its filter includes order.*." in said
    found = cli.json(*test, *event, "--condition", "total > `200`", "--wanted-channel", "us")
    assert [found[part]["passes"] for part in ("type", "channels", "condition")] == [True, False, False]
    sent = cli.json("event", "send", *of_tenant, *event)
    past = cli.json(*test, "--event", sent["id"], "--filter", "user.*", "--wanted-channel", "none")
    assert not past["delivered"]
    assert past["sentence"].endswith("Its filter includes user.*, but not order.created.")
    named = ("--event", sent["id"])
    for wrong in ((), (*event, *named), ("--type", "a"), (*named, "--channel", "a")):
        assert cli.run(*test, *wrong)[0] == 2
