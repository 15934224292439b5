"""The doctor on real parts: what is wrong with each is seen, named and has a way to be mended."""

from __future__ import annotations

import base64
import json
import uuid
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pika
import pytest
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import make_url

from delivery.clock import clock
from delivery.config import Settings, parse_settings
from delivery.destinations.http.client_certificate import parse_identity
from delivery.destinations.http.tls import create_tls_context
from delivery.doctor.examination import DoctorDeps, run_checks
from delivery.doctor.findings import Finding, Severity
from delivery.doctor.network import check_certificates, list_tls_servers
from delivery.domain.accounts import Actor
from delivery.domain.delivery import Priority
from delivery.domain.egress import Proxy
from delivery.domain.ids import Prefix, format_id
from delivery.domain.secret_box import generate_key
from delivery.domain.setting_parsers import SecretText
from delivery.services.api_keys.service import ApiKeyService
from delivery.services.api_keys.validation import ApiKeyConfig, NewApiKey
from tests.integration.test_schema import INI
from tests.support import ledger_builders as build
from tests.support.fake_proxies import FakeProxy, run_proxy
from tests.support.postgres import connect
from tests.support.receivers import CertificateAuthority, answer_always, make_response, run_receiver
from tests.support.stack import find_free_port
from workers.broker.broker import Publisher, create_rabbitmq_broker, get_queue_name
from workers.broker.check import check_broker
from workers.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import LiteralString

    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger
    from tests.support.rabbitmq import PrivateRabbitMQ

KEY = base64.b64encode(bytes(range(32))).decode()  # that of on.BOX
BROKER_ASIDE: list[Finding] = []
HUSH = "hush"


def settings(**own: Any) -> Settings:
    return parse_settings({"secret_keys": KEY, "operator_key": "o" * 20, **own})


async def seen(
    of: Settings,
    *,
    environment: tuple[str, ...] = (),
    now: Callable[[], datetime] = clock,
    broker: Callable[[Settings], list[Finding]] = lambda _: BROKER_ASIDE,
    url: str | None = None,
) -> dict[str, Finding]:
    """The doctor's findings by check; the most severe if a check has several."""
    findings = await run_checks(of, DoctorDeps(environment, now, broker), url=url)
    grave = sorted(findings, key=lambda one: list(Severity).index(one.severity))
    return {one.check: one for one in grave}


def altered(url: str, *statements: LiteralString | sql.Composed) -> None:
    with connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


# ---- all is well


async def test_nothing_is_found_where_nothing_is_wrong(own_ledger: Ledger):
    found = await seen(settings(database_url=own_ledger.url))
    assert {check: one.message for check, one in found.items() if one.severity is not Severity.OK} == {}
    assert found.keys() >= {
        "settings",
        "database",
        "schema",
        "clock",
        "partitions",
        "tenants apart",
        "secrets",
    }
    assert not any(one.remedy for one in found.values())


# ---- settings


def test_each_setting_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    wrong = {
        "WAYBILL_SECRET_KEYS": "c2hvcnQ=",
        "WAYBILL_ALLOW_NETWORKS": "10.0.0.0/99",
        "WAYBILL_EGRESS_PROXY": "ftp://proxy",
        "WAYBILL_RETRY_SCHEDULE": "5,-1",
        "WAYBILL_STATSD": "nonsense",
    }
    for name, text in wrong.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SystemExit):
        main(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {check["says"].partition(":")[0] for check in checks} == set(wrong)
    assert {check["grade"] for check in checks} == {"wrong"}


@pytest.mark.parametrize("own", [{"secret_keys": None}, {"egress_address": "203.0.113.7"}])
async def test_a_setting_that_cannot_be_used_is_named(database_url: str, own: dict[str, Any]):
    found = await seen(settings(database_url=database_url, **own))
    assert found["settings"].severity is Severity.ERROR
    assert f"WAYBILL_{next(iter(own)).upper()}" in found["settings"].message


async def test_a_misspelled_setting_is_named_with_what_was_meant(database_url: str):
    found = await seen(
        settings(database_url=database_url), environment=("PATH", "WAYBILL_TENANT", "WAYBILL_POOLSIZE")
    )
    assert found["settings"].severity is Severity.WARNING
    assert "WAYBILL_POOLSIZE" in found["settings"].message
    assert "WAYBILL_POOL_SIZE" in found["settings"].message


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ({"allow_networks": "203.0.113.0/24,10.1.0.0/16"}, "10.1.0.0/16"),
        ({"allow_http": True}, "WAYBILL_ALLOW_HTTP"),
        ({"operator_key": None}, "WAYBILL_OPERATOR_KEY"),
        ({"attempt_timeout": 20.0, "lease_seconds": 10.0}, "WAYBILL_ATTEMPT_TIMEOUT"),
    ],
)
async def test_what_is_risky_is_a_warning(database_url: str, own: dict[str, Any], name: str):
    found = await seen(settings(database_url=database_url, **own))
    assert found["settings"].severity is Severity.WARNING
    assert name in found["settings"].message
    assert "203.0.113.0" not in found["settings"].message


# ---- the database


async def test_doctor_runs_other_checks_without_a_database():
    nobody = f"postgresql://waybill:hush@127.0.0.1:{find_free_port()}/waybill"
    found = await seen(settings(database_url=nobody), broker=check_broker)
    assert found["database"].severity is Severity.ERROR
    assert {"broker", "DNS", "egress"} <= found.keys()
    assert not any("hush" in one.message + one.remedy for one in found.values())


async def test_a_database_without_a_schema_has_to_be_upgraded(empty_database_url: str):
    found = await seen(settings(database_url=empty_database_url))
    assert found["schema"].severity is Severity.ERROR
    assert "waybill db upgrade" in found["schema"].remedy


async def test_an_old_schema_has_to_be_upgraded(empty_database_url: str):
    config = Config(INI)
    config.attributes["database_url"] = empty_database_url
    command.upgrade(config, "0008")
    found = await seen(settings(database_url=empty_database_url))
    assert found["schema"].severity is Severity.ERROR
    assert "0008" in found["schema"].message
    assert "waybill db upgrade" in found["schema"].remedy
    assert found["tenants apart"].severity is Severity.ERROR


async def test_a_newer_schema_is_a_warning(own_ledger: Ledger):
    altered(own_ledger.url, "update alembic_version set version_num = '9999'")
    found = await seen(settings(database_url=own_ledger.url))
    assert found["schema"].severity is Severity.WARNING


async def test_a_database_that_takes_no_writes_is_the_wrong_one(own_ledger: Ledger):
    name = own_ledger.url.rpartition("/")[2]
    with connect(own_ledger.url) as connection:
        connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
    found = await seen(settings(database_url=own_ledger.url))
    assert found["database"].severity is Severity.ERROR
    assert "primary" in found["database"].remedy


@pytest.mark.parametrize(
    ("days", "grade"), [(0, Severity.OK), (2, Severity.WARNING), (4, Severity.ERROR), (5, Severity.ERROR)]
)
async def test_partitions_run_out(own_ledger: Ledger, days: int, grade: Severity):
    found = await seen(settings(database_url=own_ledger.url), now=lambda: clock() + timedelta(days=days))
    assert found["partitions"].severity is grade


@pytest.mark.parametrize(
    ("off", "grade"),
    [(0, Severity.OK), (-30, Severity.WARNING), (3_600, Severity.ERROR), (-3_600, Severity.ERROR)],
)
async def test_a_clock_that_differs_from_the_databases_is_told(own_ledger: Ledger, off: int, grade: Severity):
    found = await seen(settings(database_url=own_ledger.url), now=lambda: clock() + timedelta(seconds=off))
    assert found["clock"].severity is grade
    assert ("ahead of" in found["clock"].message) == (off > 0)
    assert ("behind" in found["clock"].message) == (off < 0)


async def test_table_without_row_level_security_is_reported(own_ledger: Ledger):
    altered(own_ledger.url, "alter table endpoints disable row level security")
    found = await seen(settings(database_url=own_ledger.url))
    assert found["tenants apart"].severity is Severity.ERROR
    assert "endpoints" in found["tenants apart"].message


@pytest.fixture
def stranger(own_ledger: Ledger) -> Iterator[str]:
    """An account of the same server that owns nothing: the ledger's URL, signed in as it."""
    name = f"stranger_{uuid.uuid4().hex[:12]}"
    altered(own_ledger.url, sql.SQL("create role {} login password 'hush'").format(sql.Identifier(name)))
    yield make_url(own_ledger.url).set(username=name, password=HUSH).render_as_string(hide_password=False)
    altered(own_ledger.url, sql.SQL("drop role {}").format(sql.Identifier(name)))


async def test_an_account_that_may_read_nothing_is_told_what_it_lacks(stranger: str):
    found = await seen(settings(database_url=stranger))
    assert found["database"].severity is Severity.OK
    assert found["tenants apart"].severity is Severity.ERROR
    assert "grant" in found["tenants apart"].message


# ---- key material


async def test_missing_decryption_key_is_reported(own_ledger: Ledger):
    await build.create_endpoint(own_ledger, await build.create_tenant(own_ledger))
    found = await seen(settings(database_url=own_ledger.url, secret_keys=generate_key()))
    assert found["secrets"].severity is Severity.ERROR
    assert build.BOX.key_ids[0] in found["secrets"].message


async def test_what_is_under_an_older_key_is_a_warning(own_ledger: Ledger):
    await build.create_endpoint(own_ledger, await build.create_tenant(own_ledger))
    found = await seen(settings(database_url=own_ledger.url, secret_keys=f"{generate_key()},{KEY}"))
    assert found["secrets"].severity is Severity.WARNING
    assert "waybill secrets rotate-key" in found["secrets"].remedy


async def test_a_sealed_value_that_was_changed_is_found(own_ledger: Ledger):
    await build.create_endpoint(own_ledger, await build.create_tenant(own_ledger))
    altered(
        own_ledger.url, "update endpoint_secrets set sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)"
    )
    found = await seen(settings(database_url=own_ledger.url))
    assert found["secrets"].severity is Severity.ERROR


async def test_an_api_key_that_ends_soon_is_named_until_another_takes_its_place(own_ledger: Ledger):
    tenant: TenantId = await build.create_tenant(own_ledger)
    by = Actor("cli:ada", "here")
    keys = ApiKeyService(
        own_ledger,
        ApiKeyConfig(operator_key=None, overlap=timedelta(0), requests_per_second=0),
        clock=clock,
        random_bytes=lambda count: b"k" * count,
    )
    await keys.create(tenant, NewApiKey("shop", lifetime=timedelta(days=3)), actor=by)
    found = await seen(settings(database_url=own_ledger.url))
    assert found["API keys"].severity is Severity.WARNING
    assert "key_" in found["API keys"].message
    altered(own_ledger.url, "update api_keys set expires_at = now() + interval '60 days'")
    assert (await seen(settings(database_url=own_ledger.url)))["API keys"].severity is Severity.OK


@pytest.mark.parametrize(("days", "grade"), [(60, Severity.OK), (9, Severity.WARNING)])
async def test_a_certificate_that_ends_soon_is_named(own_ledger: Ledger, days: int, grade: Severity):
    tenant = await build.create_tenant(own_ledger)
    shown = parse_identity(
        *CertificateAuthority().make_client_certificate("ada", until=clock() + timedelta(days=days)),
        now=clock(),
    )
    endpoint = await build.create_endpoint(
        own_ledger, tenant, build.EndpointSpec("https://a.example/", identity=shown)
    )
    found = await seen(settings(database_url=own_ledger.url))
    assert found["client certificates"].severity is grade
    assert (format_id(Prefix.ENDPOINT, endpoint) in found["client certificates"].message) == (
        grade is not Severity.OK
    )


async def test_a_certificate_that_has_ended_is_wrong(own_ledger: Ledger):
    tenant = await build.create_tenant(own_ledger)
    shown = parse_identity(
        *CertificateAuthority().make_client_certificate("ada", until=clock() + timedelta(days=1)), now=clock()
    )
    await build.create_endpoint(own_ledger, tenant, build.EndpointSpec("https://a.example/", identity=shown))
    found = await seen(settings(database_url=own_ledger.url), now=lambda: clock() + timedelta(days=2))
    assert found["client certificates"].severity is Severity.ERROR


# ---- the broker


@pytest.fixture
def own_queues(amqp_url: str) -> Iterator[Settings]:
    """A broker without queues of this name; they are deleted at the end."""
    own = settings(amqp_url=amqp_url, queue_name=f"test-doctor-{uuid.uuid4().hex[:12]}")
    yield own
    with channel(amqp_url) as door:
        for lane in Priority:
            for end in ("", ".DQ", ".XQ"):
                door.queue_delete(get_queue_name(own, lane) + end)


@contextmanager
def channel(url: str) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        yield connection.channel()


def of_broker(own: Settings) -> dict[str, Finding]:
    return {one.check: one for one in check_broker(own)}


def declared(own: Settings) -> None:
    broker = create_rabbitmq_broker(own)
    Publisher(broker, get_queue_name(own, Priority.LIVE)).count_waiting()
    broker.close()


def test_a_broker_that_answers_is_told_with_its_version(own_queues: Settings):
    found = of_broker(own_queues)
    assert found["broker"].severity is Severity.OK
    assert "RabbitMQ 3." in found["broker"].message or "RabbitMQ 4." in found["broker"].message
    assert found["publishing"].severity is Severity.OK
    assert found["queue type"].severity is Severity.WARNING
    assert of_broker(replace(own_queues, queue_type="quorum"))["queue type"].severity is Severity.OK


def test_looking_makes_no_queues(own_queues: Settings):
    name = get_queue_name(own_queues, Priority.LIVE)
    assert of_broker(own_queues)[f"queue {name}"].severity is Severity.OK
    assert "not there yet" in of_broker(own_queues)[f"queue {name}"].message


def test_a_queue_that_nobody_reads_is_a_warning(own_queues: Settings):
    declared(own_queues)
    found = of_broker(own_queues)[f"queue {get_queue_name(own_queues, Priority.LIVE)}"]
    assert found.severity is Severity.WARNING
    assert "waybill serve worker" in found.remedy


def test_a_queue_that_is_of_another_type_is_wrong(own_queues: Settings):
    name = get_queue_name(own_queues, Priority.LIVE)
    with channel(str(own_queues.amqp_url and own_queues.amqp_url.text)) as door:
        door.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    found = of_broker(own_queues)[f"queue {name}"]
    assert found.severity is Severity.ERROR
    assert f"rabbitmqctl delete_queue {name}" in found.remedy


def test_broker_permission_error_does_not_suggest_deleting_the_queue(private_rabbitmq: PrivateRabbitMQ):
    whole = settings(amqp_url=private_rabbitmq.url, queue_name="test-doctor-rights")
    declared(whole)
    private_rabbitmq.run_ctl("add_user", "ada", HUSH)
    private_rabbitmq.run_ctl("set_permissions", "ada", "^$", ".*", ".*")
    narrow = SecretText(private_rabbitmq.url.replace("guest:guest", f"ada:{HUSH}"))
    told = of_broker(replace(whole, amqp_url=narrow))[f"queue {get_queue_name(whole, Priority.LIVE)}"]
    assert told.severity is Severity.ERROR
    assert "ACCESS_REFUSED" in told.message
    assert "delete_queue" not in told.remedy
    private_rabbitmq.run_ctl("delete_user", "ada")


def test_failed_messages_are_told(own_queues: Settings):
    declared(own_queues)
    name = get_queue_name(own_queues, Priority.LIVE)
    with channel(str(own_queues.amqp_url and own_queues.amqp_url.text)) as door:
        door.confirm_delivery()
        door.basic_publish("", f"{name}.XQ", b"{}")
    found = check_broker(own_queues)
    assert any(
        one.severity is Severity.WARNING and f"1 failed messages are in {name}.XQ" in one.message
        for one in found
    )


def test_no_broker_is_told_without_its_password():
    nobody = settings(amqp_url=f"amqp://guest:hush@127.0.0.1:{find_free_port()}/%2F")
    found = of_broker(nobody)["broker"]
    assert found.severity is Severity.ERROR
    assert "refused" in found.message.lower()
    assert "hush" not in found.message + found.remedy


def test_an_account_that_the_broker_does_not_know_is_told(amqp_url: str):
    stranger = settings(amqp_url=amqp_url.replace("guest:guest", "guest:hush"))
    found = of_broker(stranger)["broker"]
    assert found.severity is Severity.ERROR
    assert "hush" not in found.message + found.remedy


def test_no_broker_is_asked_for_where_none_is_named():
    assert of_broker(settings(amqp_url=None, data_dir="/nowhere"))["broker"].severity is Severity.ERROR


def test_an_alarm_of_the_broker_is_told(private_rabbitmq: PrivateRabbitMQ):
    own = settings(amqp_url=private_rabbitmq.url, queue_name="test-doctor-alarm")
    assert of_broker(own)["publishing"].severity is Severity.OK
    private_rabbitmq.run_ctl("set_vm_memory_high_watermark", "0.0001")
    try:
        found = of_broker(own)["publishing"]
    finally:
        private_rabbitmq.run_ctl("set_vm_memory_high_watermark", "0.4")
    assert found.severity is Severity.ERROR
    assert "alarm" in found.message


# ---- the way out


async def test_unresolvable_endpoint_host_warns_and_own_host_fails(
    own_ledger: Ledger,
):
    tenant = await build.create_tenant(own_ledger)
    await build.create_endpoint(own_ledger, tenant, build.EndpointSpec("https://lost.invalid/hook"))
    await build.create_endpoint(own_ledger, tenant, build.EndpointSpec("http://localhost:9/hook"))
    found = await seen(settings(database_url=own_ledger.url))
    assert found["DNS"].severity is Severity.WARNING
    assert "lost.invalid" in found["DNS"].message
    assert "localhost" not in found["DNS"].message
    found = await seen(settings(database_url=own_ledger.url, amqp_url="amqp://mq.invalid"))
    assert found["DNS"].severity is Severity.ERROR
    assert "mq.invalid" in found["DNS"].message


@pytest.mark.parametrize("password", ["pa/ss", "pa?ss"])
async def test_a_database_is_looked_up_by_the_host_that_the_driver_reads(password: str):
    found = await seen(settings(database_url=f"postgresql://u:{password}@localhost:1/w"))
    assert found["DNS"].severity is Severity.OK


async def test_urls_that_are_hard_to_read_do_not_end_the_examination():
    found = await seen(settings(database_url="postgresql://u:a[b@localhost:1/w"))
    assert found["DNS"].severity is Severity.OK


async def test_a_proxy_is_reached_or_told(database_url: str):
    async with run_proxy(FakeProxy("http")) as proxy:
        found = await seen(settings(database_url=database_url, egress_proxy=proxy.url(userinfo="ada:hush@")))
        assert found["egress"].severity is Severity.OK
    gone = await seen(settings(database_url=database_url, egress_proxy=proxy.url(userinfo="ada:hush@")))
    assert gone["egress"].severity is Severity.ERROR
    assert "hush" not in gone["egress"].message


async def test_one_url_is_tried_on_the_way_that_deliveries_take(database_url: str):
    own = settings(database_url=database_url, allow_networks="127.0.0.0/8")
    async with run_receiver(answer_always(make_response("404 Not Found"))) as receiver:
        found = (await seen(own, url=receiver.url()))[f"GET {receiver.url()}"]
        assert found.severity is Severity.OK
        assert "404" in found.message
        assert receiver.requests[0].request_line.startswith("GET ")
        blocked = (await seen(settings(database_url=database_url), url=receiver.url()))[
            f"GET {receiver.url()}"
        ]
        assert blocked.severity is Severity.ERROR
        assert "may not be dialled" in blocked.message


async def test_certificates_of_our_own_servers_are_looked_at():
    authority = CertificateAuthority()
    tls = authority.add_trust(create_tls_context())
    now = clock()
    soon = authority.make_expired_server_context(
        "127.0.0.1", since=now - timedelta(days=9), until=now + timedelta(days=9)
    )
    past = authority.make_expired_server_context(
        "127.0.0.1", since=now - timedelta(days=9), until=now - timedelta(days=1)
    )
    shown = [
        (authority.make_server_context("127.0.0.1"), Severity.OK),
        (soon, Severity.WARNING),
        (past, Severity.ERROR),
    ]
    for server, grade in [*shown, (CertificateAuthority().make_server_context("127.0.0.1"), Severity.ERROR)]:
        async with run_receiver(answer_always(make_response()), tls=server) as receiver:
            [found] = await check_certificates([("127.0.0.1", receiver.port)], now=now, tls=tls)
        assert found.severity is grade, found
    [gone] = await check_certificates([("127.0.0.1", find_free_port())], now=now, tls=tls)
    assert gone.severity is Severity.WARNING


def test_servers_of_our_own_that_show_certificates_are_found_in_the_settings():
    own = settings(amqp_url="amqps://u:p@mq.example/%2F", public_url="https://waybill.example")
    proxy = Proxy.parse("https://proxy.example:8443")
    assert list_tls_servers(own, proxy) == [
        ("proxy.example", 8443),
        ("mq.example", 5671),
        ("waybill.example", 443),
    ]
    plain = settings(amqp_url="amqp://u:p@mq.example/%2F", public_url="http://waybill.example")
    assert list_tls_servers(plain, Proxy.parse("http://proxy.example")) == []
