"""Keys of both kinds on the command line: of tenants, and those that seal secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from delivery.domain.secret_box import generate_key
from tests.integration.test_cli import SEVERAL, Cli, cli, database, tenant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["cli", "database", "tenant"]  # the fixtures

OLD, NEW = generate_key(), generate_key()


def test_a_key_with_a_scope_and_an_end_is_made_and_listed(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    code, out, err = cli.run("key", "create", *of_tenant, "shop", "--scope", "publish", "--expires", "90d")
    assert code == 0
    assert out.startswith("wbk_")
    assert "It expires at 2" in err
    made = cli.json("key", "create", *of_tenant, "all", "--requests-per-second", "5")
    assert made["scopes"] == ["publish", "manage", "read", "replay"]
    assert (made["expires_at"], made["requests_per_second"]) == (None, 5)
    listed = cli.good("key", "list", *of_tenant)
    assert "publish" in listed
    assert "in 90 days" in listed
    assert "never" in listed


def test_a_key_is_rotated_once(cli: Cli, tenant: str):
    of_tenant = ("--tenant", tenant)
    made = cli.json("key", "create", *of_tenant, "shop", "--scope", "read", "--scope", "replay")
    code, out, err = cli.run("key", "rotate", *of_tenant, made["id"], "--overlap-hours", "2")
    assert code == 0
    assert out.startswith("wbk_")
    assert "The old key stays valid until 2" in err
    newest, oldest = cli.json("key", "list", *of_tenant)["items"]
    assert newest["scopes"] == oldest["scopes"] == ["read", "replay"]
    assert oldest["replaced_by"] == newest["id"]
    code, _, err = cli.run("key", "rotate", *of_tenant, made["id"])
    assert (code, newest["id"] in err) == (1, True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--scope", "operate"], "scopes: operate is reserved for the operator's key"),
        (["--scope", "all"], "--scope"),
        (["--expires", "tomorrow"], "neither a while such as 12h"),
        (["--expires", "2027-01-01T00:00:00"], "neither a while"),
        (["--expires", "5s"], "must be from a minute to ten years"),
        (["--expires", "2020-01-01T00:00:00Z"], "expires_at: must be from a minute to ten years from now"),
        (["--expires", "999999d"], "must be from a minute to ten years"),
        (["--requests-per-second", "0"], "--requests-per-second"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(cli: Cli, tenant: str, wrong: list[str], said: str):
    code, out, err = cli.run("key", "create", "--tenant", tenant, "x", *wrong)
    assert code in {1, 2}
    assert said in " ".join(err.split())
    assert out == ""


@contextmanager
def with_keys(database_url: str, keys: str, folder: Path) -> Iterator[Cli]:
    """The command line with these keys at hand."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    with subprocess.Popen(
        [sys.executable, "-c", SEVERAL],
        env=others | {"WAYBILL_DATABASE_URL": database_url, "WAYBILL_SECRET_KEYS": keys},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Cli(process)
        assert process.stdin is not None
        process.stdin.close()


def test_the_sealing_key_is_rotated_step_by_step(database_url: str, tmp_path: Path):
    with with_keys(database_url, OLD, tmp_path) as before:
        before.good("db", "upgrade")
        tenant = before.good("tenant", "create", "Acme").strip()
        endpoint = ("endpoint", "create", "https://shop.example/in", "--tenant", tenant)
        made = before.json(*endpoint, "--header", "X-Token: hush")
    with with_keys(database_url, f"{NEW},{OLD}", tmp_path) as both:
        code, out, _ = both.run("secrets", "rotate-key", "--dry-run")
        assert code == 1
        assert "2 still need an older key" in out
        result = both.json("secrets", "rotate-key")
        assert (result["resealed"], result["left"], result["unreadable"]) == (2, 0, 0)
        assert [key["values"] for key in result["keys"]] == [2, 0]
        assert "the others can be removed" in both.good("secrets", "rotate-key")
        assert OLD not in json.dumps(result)
    with with_keys(database_url, NEW, tmp_path) as after:
        change = ("endpoint", "update", made["id"], "--tenant", tenant, "--header", "X-More: 1")
        assert after.json(*change)["headers"] == {"X-Token": "***", "X-More": "***"}
