"""The doctor on real parts: what is wrong with each is seen, named and has a way to be mended."""

from __future__ import annotations

import base64
import uuid
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pika
import pytest
from alembic import command
from alembic.config import Config
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import make_url

from delivery.bootstrap import clock
from delivery.certificates import read_identity
from delivery.config import Settings
from delivery.doctor import Finding, Grade, examine
from delivery.doctor.examination import Edge
from delivery.doctor.network import look_at_certificates, tls_servers
from delivery.keys import Keys, KeyTerms
from delivery.keys.terms import NewKey
from delivery.model import Actor, Lane, Prefix, show_id
from delivery.secrets import generate_key
from delivery.transport import Proxy, verified_tls
from tests.integration.test_schema import INI
from tests.support import ledger as on
from tests.support.postgres import connect
from tests.support.proxies import Running, proxying
from tests.support.receivers import Authority, always, answer, receiving
from tests.support.stack import free_port
from workers.broker import Publisher, queue_of, rabbitmq_broker
from workers.examining import look_at_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import LiteralString

    from delivery.ledger import Ledger
    from delivery.model import TenantId
    from tests.support.rabbitmq import PrivateRabbitMQ

KEY = base64.b64encode(bytes(range(32))).decode()  # that of on.BOX
BROKER_ASIDE: list[Finding] = []
HUSH = "hush"


def settings(**own: Any) -> Settings:
    return Settings(**{"secret_keys": KEY, "operator_key": "o" * 20, **own})


async def seen(
    of: Settings,
    *,
    environment: tuple[str, ...] = (),
    now: Callable[[], datetime] = clock,
    broker: Callable[[Settings], list[Finding]] = lambda _: BROKER_ASIDE,
    url: str | None = None,
) -> dict[str, Finding]:
    """What the doctor says, by check: the gravest where there are several of one name."""
    findings = await examine(of, Edge(environment, now, broker), url=url)
    grave = sorted(findings, key=lambda one: list(Grade).index(one.grade))
    return {one.check: one for one in grave}


def altered(url: str, *statements: LiteralString | sql.Composed) -> None:
    with connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


# ---- all is well


async def test_nothing_is_found_where_nothing_is_wrong(own_ledger: Ledger):
    found = await seen(settings(database_url=own_ledger.url))
    assert {check: one.says for check, one in found.items() if one.grade is not Grade.OK} == {}
    assert found.keys() >= {
        "settings",
        "database",
        "schema",
        "clock",
        "partitions",
        "tenants apart",
        "secrets",
    }
    assert not any(one.mend for one in found.values())


# ---- settings


@pytest.mark.parametrize(
    "own",
    [
        {"secret_keys": "c2hvcnQ="},
        {"allow_networks": "10.0.0.0/99"},
        {"egress_proxy": "ftp://proxy"},
        {"egress_address": "203.0.113.7"},
        {"retry_schedule": (5.0, -1.0)},
        {"statsd": "nonsense"},
    ],
)
async def test_a_setting_that_cannot_be_used_is_named(database_url: str, own: dict[str, Any]):
    found = await seen(settings(database_url=database_url, **own))
    assert found["settings"].grade is Grade.WRONG
    assert f"WAYBILL_{next(iter(own)).upper()}" in found["settings"].says


async def test_a_misspelled_setting_is_named_with_what_was_meant(database_url: str):
    found = await seen(
        settings(database_url=database_url), environment=("PATH", "WAYBILL_TENANT", "WAYBILL_POOLSIZE")
    )
    assert found["settings"].grade is Grade.WARNING
    assert "WAYBILL_POOLSIZE" in found["settings"].says
    assert "WAYBILL_POOL_SIZE" in found["settings"].says


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
    assert found["settings"].grade is Grade.WARNING
    assert name in found["settings"].says
    assert "203.0.113.0" not in found["settings"].says


# ---- the database


async def test_without_a_database_the_rest_is_looked_at_all_the_same():
    nobody = f"postgresql://waybill:hush@127.0.0.1:{free_port()}/waybill"
    found = await seen(settings(database_url=nobody), broker=look_at_broker)
    assert found["database"].grade is Grade.WRONG
    assert {"broker", "DNS", "egress"} <= found.keys()
    assert not any("hush" in one.says + one.mend for one in found.values())


async def test_a_database_without_a_schema_has_to_be_upgraded(empty_database_url: str):
    found = await seen(settings(database_url=empty_database_url))
    assert found["schema"].grade is Grade.WRONG
    assert "waybill db upgrade" in found["schema"].mend


async def test_an_old_schema_has_to_be_upgraded(empty_database_url: str):
    config = Config(INI)
    config.attributes["database_url"] = empty_database_url
    command.upgrade(config, "0008")
    found = await seen(settings(database_url=empty_database_url))
    assert found["schema"].grade is Grade.WRONG
    assert "0008" in found["schema"].says
    assert "waybill db upgrade" in found["schema"].mend
    assert found["tenants apart"].grade is Grade.WRONG


async def test_a_newer_schema_is_a_warning(own_ledger: Ledger):
    altered(own_ledger.url, "update alembic_version set version_num = '9999'")
    found = await seen(settings(database_url=own_ledger.url))
    assert found["schema"].grade is Grade.WARNING


async def test_a_database_that_takes_no_writes_is_the_wrong_one(own_ledger: Ledger):
    name = own_ledger.url.rpartition("/")[2]
    with connect(own_ledger.url) as connection:
        connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
    found = await seen(settings(database_url=own_ledger.url))
    assert found["database"].grade is Grade.WRONG
    assert "primary" in found["database"].mend


@pytest.mark.parametrize(
    ("days", "grade"), [(0, Grade.OK), (2, Grade.WARNING), (4, Grade.WRONG), (5, Grade.WRONG)]
)
async def test_partitions_run_out(own_ledger: Ledger, days: int, grade: Grade):
    found = await seen(settings(database_url=own_ledger.url), now=lambda: clock() + timedelta(days=days))
    assert found["partitions"].grade is grade


@pytest.mark.parametrize(
    ("off", "grade"), [(0, Grade.OK), (-30, Grade.WARNING), (3_600, Grade.WRONG), (-3_600, Grade.WRONG)]
)
async def test_a_clock_that_differs_from_the_databases_is_told(own_ledger: Ledger, off: int, grade: Grade):
    found = await seen(settings(database_url=own_ledger.url), now=lambda: clock() + timedelta(seconds=off))
    assert found["clock"].grade is grade
    assert ("ahead of" in found["clock"].says) == (off > 0)
    assert ("behind" in found["clock"].says) == (off < 0)


async def test_a_table_without_its_wall_is_named(own_ledger: Ledger):
    altered(own_ledger.url, "alter table endpoints disable row level security")
    found = await seen(settings(database_url=own_ledger.url))
    assert found["tenants apart"].grade is Grade.WRONG
    assert "endpoints" in found["tenants apart"].says


@pytest.fixture
def stranger(own_ledger: Ledger) -> Iterator[str]:
    """An account of the same server that owns nothing: the ledger's URL, signed in as it."""
    name = f"stranger_{uuid.uuid4().hex[:12]}"
    altered(own_ledger.url, sql.SQL("create role {} login password 'hush'").format(sql.Identifier(name)))
    yield make_url(own_ledger.url).set(username=name, password=HUSH).render_as_string(hide_password=False)
    altered(own_ledger.url, sql.SQL("drop role {}").format(sql.Identifier(name)))


async def test_an_account_that_may_read_nothing_is_told_what_it_lacks(stranger: str):
    found = await seen(settings(database_url=stranger))
    assert found["database"].grade is Grade.OK
    assert found["tenants apart"].grade is Grade.WRONG
    assert "grant" in found["tenants apart"].says


# ---- key material


async def test_a_key_that_is_not_at_hand_is_missed(own_ledger: Ledger):
    await on.new_endpoint(own_ledger, await on.new_tenant(own_ledger))
    found = await seen(settings(database_url=own_ledger.url, secret_keys=generate_key()))
    assert found["secrets"].grade is Grade.WRONG
    assert on.BOX.key_ids[0] in found["secrets"].says


async def test_what_is_under_an_older_key_is_a_warning(own_ledger: Ledger):
    await on.new_endpoint(own_ledger, await on.new_tenant(own_ledger))
    found = await seen(settings(database_url=own_ledger.url, secret_keys=f"{generate_key()},{KEY}"))
    assert found["secrets"].grade is Grade.WARNING
    assert "waybill secrets rotate-key" in found["secrets"].mend


async def test_a_sealed_value_that_was_changed_is_found(own_ledger: Ledger):
    await on.new_endpoint(own_ledger, await on.new_tenant(own_ledger))
    altered(
        own_ledger.url, "update endpoint_secrets set sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)"
    )
    found = await seen(settings(database_url=own_ledger.url))
    assert found["secrets"].grade is Grade.WRONG


async def test_an_api_key_that_ends_soon_is_named_until_another_takes_its_place(own_ledger: Ledger):
    tenant: TenantId = await on.new_tenant(own_ledger)
    by = Actor("cli:ada", "here")
    keys = Keys(
        own_ledger,
        KeyTerms(operator_key=None, overlap=timedelta(0), requests_per_second=0),
        clock=clock,
        random_bytes=lambda count: b"k" * count,
    )
    await keys.create(tenant, NewKey("shop", lasts=timedelta(days=3)), actor=by)
    found = await seen(settings(database_url=own_ledger.url))
    assert found["API keys"].grade is Grade.WARNING
    assert "key_" in found["API keys"].says
    altered(own_ledger.url, "update api_keys set expires_at = now() + interval '60 days'")
    assert (await seen(settings(database_url=own_ledger.url)))["API keys"].grade is Grade.OK


@pytest.mark.parametrize(("days", "grade"), [(60, Grade.OK), (9, Grade.WARNING)])
async def test_a_certificate_that_ends_soon_is_named(own_ledger: Ledger, days: int, grade: Grade):
    tenant = await on.new_tenant(own_ledger)
    shown = read_identity(*Authority().client("ada", until=clock() + timedelta(days=days)), now=clock())
    endpoint = await on.new_endpoint(own_ledger, tenant, on.Wanted("https://a.example/", identity=shown))
    found = await seen(settings(database_url=own_ledger.url))
    assert found["client certificates"].grade is grade
    assert (show_id(Prefix.ENDPOINT, endpoint) in found["client certificates"].says) == (
        grade is not Grade.OK
    )


async def test_a_certificate_that_has_ended_is_wrong(own_ledger: Ledger):
    tenant = await on.new_tenant(own_ledger)
    shown = read_identity(*Authority().client("ada", until=clock() + timedelta(days=1)), now=clock())
    await on.new_endpoint(own_ledger, tenant, on.Wanted("https://a.example/", identity=shown))
    found = await seen(settings(database_url=own_ledger.url), now=lambda: clock() + timedelta(days=2))
    assert found["client certificates"].grade is Grade.WRONG


# ---- the broker


@pytest.fixture
def own_queues(amqp_url: str) -> Iterator[Settings]:
    """A broker on which nobody has queues of this name; they are taken away again."""
    own = settings(amqp_url=amqp_url, queue_name=f"test-doctor-{uuid.uuid4().hex[:12]}")
    yield own
    with channel(amqp_url) as door:
        for lane in Lane:
            for end in ("", ".DQ", ".XQ"):
                door.queue_delete(queue_of(own, lane) + end)


@contextmanager
def channel(url: str) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        yield connection.channel()


def of_broker(own: Settings) -> dict[str, Finding]:
    return {one.check: one for one in look_at_broker(own)}


def declared(own: Settings) -> None:
    broker = rabbitmq_broker(own)
    Publisher(broker, queue_of(own, Lane.LIVE)).waiting()
    broker.close()


def test_a_broker_that_answers_is_told_with_its_version(own_queues: Settings):
    found = of_broker(own_queues)
    assert found["broker"].grade is Grade.OK
    assert "RabbitMQ 3." in found["broker"].says or "RabbitMQ 4." in found["broker"].says
    assert found["publishing"].grade is Grade.OK
    assert found["queue type"].grade is Grade.WARNING
    assert of_broker(own_queues.model_copy(update={"queue_type": "quorum"}))["queue type"].grade is Grade.OK


def test_looking_makes_no_queues(own_queues: Settings):
    name = queue_of(own_queues, Lane.LIVE)
    assert of_broker(own_queues)[f"queue {name}"].grade is Grade.OK
    assert "not there yet" in of_broker(own_queues)[f"queue {name}"].says


def test_a_queue_that_nobody_reads_is_a_warning(own_queues: Settings):
    declared(own_queues)
    found = of_broker(own_queues)[f"queue {queue_of(own_queues, Lane.LIVE)}"]
    assert found.grade is Grade.WARNING
    assert "waybill serve worker" in found.mend


def test_a_queue_that_is_of_another_type_is_wrong(own_queues: Settings):
    name = queue_of(own_queues, Lane.LIVE)
    with channel(str(own_queues.amqp_url and own_queues.amqp_url.get_secret_value())) as door:
        door.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    found = of_broker(own_queues)[f"queue {name}"]
    assert found.grade is Grade.WRONG
    assert f"rabbitmqctl delete_queue {name}" in found.mend


def test_an_account_that_may_not_is_told_so_and_not_to_delete_the_queue(private_rabbitmq: PrivateRabbitMQ):
    whole = settings(amqp_url=private_rabbitmq.url, queue_name="test-doctor-rights")
    declared(whole)
    private_rabbitmq.ctl("add_user", "ada", HUSH)
    private_rabbitmq.ctl("set_permissions", "ada", "^$", ".*", ".*")
    narrow = SecretStr(private_rabbitmq.url.replace("guest:guest", f"ada:{HUSH}"))
    told = of_broker(whole.model_copy(update={"amqp_url": narrow}))[f"queue {queue_of(whole, Lane.LIVE)}"]
    assert told.grade is Grade.WRONG
    assert "ACCESS_REFUSED" in told.says
    assert "delete_queue" not in told.mend
    private_rabbitmq.ctl("delete_user", "ada")


def test_failed_messages_are_told(own_queues: Settings):
    declared(own_queues)
    name = queue_of(own_queues, Lane.LIVE)
    with channel(str(own_queues.amqp_url and own_queues.amqp_url.get_secret_value())) as door:
        door.confirm_delivery()
        door.basic_publish("", f"{name}.XQ", b"{}")
    found = look_at_broker(own_queues)
    assert any(
        one.grade is Grade.WARNING and f"1 messages have failed and lie in {name}.XQ" in one.says
        for one in found
    )


def test_no_broker_is_told_without_its_password():
    nobody = settings(amqp_url=f"amqp://guest:hush@127.0.0.1:{free_port()}/%2F")
    found = of_broker(nobody)["broker"]
    assert found.grade is Grade.WRONG
    assert "refused" in found.says.lower()
    assert "hush" not in found.says + found.mend


def test_an_account_that_the_broker_does_not_know_is_told(amqp_url: str):
    stranger = settings(amqp_url=amqp_url.replace("guest:guest", "guest:hush"))
    found = of_broker(stranger)["broker"]
    assert found.grade is Grade.WRONG
    assert "hush" not in found.says + found.mend


def test_no_broker_is_asked_for_where_none_is_named():
    assert of_broker(settings(amqp_url=None, data_dir="/nowhere"))["broker"].grade is Grade.WRONG


def test_an_alarm_of_the_broker_is_told(private_rabbitmq: PrivateRabbitMQ):
    own = settings(amqp_url=private_rabbitmq.url, queue_name="test-doctor-alarm")
    assert of_broker(own)["publishing"].grade is Grade.OK
    private_rabbitmq.ctl("set_vm_memory_high_watermark", "0.0001")
    try:
        found = of_broker(own)["publishing"]
    finally:
        private_rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
    assert found.grade is Grade.WRONG
    assert "alarm" in found.says


# ---- the way out


async def test_a_name_of_an_endpoint_that_is_not_found_is_a_warning_and_one_of_ours_is_wrong(
    own_ledger: Ledger,
):
    tenant = await on.new_tenant(own_ledger)
    await on.new_endpoint(own_ledger, tenant, on.Wanted("https://lost.invalid/hook"))
    await on.new_endpoint(own_ledger, tenant, on.Wanted("http://localhost:9/hook"))
    found = await seen(settings(database_url=own_ledger.url))
    assert found["DNS"].grade is Grade.WARNING
    assert "lost.invalid" in found["DNS"].says
    assert "localhost" not in found["DNS"].says
    found = await seen(settings(database_url=own_ledger.url, amqp_url="amqp://mq.invalid"))
    assert found["DNS"].grade is Grade.WRONG
    assert "mq.invalid" in found["DNS"].says


@pytest.mark.parametrize("password", ["pa/ss", "pa?ss"])
async def test_a_database_is_looked_up_by_the_host_that_the_driver_reads(password: str):
    found = await seen(settings(database_url=f"postgresql://u:{password}@localhost:1/w"))
    assert found["DNS"].grade is Grade.OK


async def test_urls_that_are_hard_to_read_do_not_end_the_examination():
    found = await seen(settings(database_url="postgresql://u:a[b@localhost:1/w"))
    assert found["DNS"].grade is Grade.OK
    found = await seen(settings(database_url="mysql://localhost/w"))
    assert found["database"].grade is Grade.WRONG


async def test_a_proxy_is_reached_or_told(database_url: str):
    async with proxying(Running("http")) as proxy:
        found = await seen(settings(database_url=database_url, egress_proxy=proxy.url(who="ada:hush@")))
        assert found["egress"].grade is Grade.OK
    gone = await seen(settings(database_url=database_url, egress_proxy=proxy.url(who="ada:hush@")))
    assert gone["egress"].grade is Grade.WRONG
    assert "hush" not in gone["egress"].says


async def test_one_url_is_tried_on_the_way_that_deliveries_take(database_url: str):
    own = settings(database_url=database_url, allow_networks="127.0.0.0/8")
    async with receiving(always(answer("404 Not Found"))) as receiver:
        found = (await seen(own, url=receiver.url()))[f"GET {receiver.url()}"]
        assert found.grade is Grade.OK
        assert "404" in found.says
        assert receiver.requests[0].line.startswith("GET ")
        blocked = (await seen(settings(database_url=database_url), url=receiver.url()))[
            f"GET {receiver.url()}"
        ]
        assert blocked.grade is Grade.WRONG
        assert "may not be dialled" in blocked.says


async def test_certificates_of_our_own_servers_are_looked_at():
    authority = Authority()
    tls = authority.trust(verified_tls())
    now = clock()
    soon = authority.server_of_the_past(
        "127.0.0.1", since=now - timedelta(days=9), until=now + timedelta(days=9)
    )
    past = authority.server_of_the_past(
        "127.0.0.1", since=now - timedelta(days=9), until=now - timedelta(days=1)
    )
    shown = [(authority.server("127.0.0.1"), Grade.OK), (soon, Grade.WARNING), (past, Grade.WRONG)]
    for server, grade in [*shown, (Authority().server("127.0.0.1"), Grade.WRONG)]:
        async with receiving(always(answer()), tls=server) as receiver:
            [found] = await look_at_certificates([("127.0.0.1", receiver.port)], now=now, tls=tls)
        assert found.grade is grade, found
    [gone] = await look_at_certificates([("127.0.0.1", free_port())], now=now, tls=tls)
    assert gone.grade is Grade.WARNING


def test_servers_of_our_own_that_show_certificates_are_found_in_the_settings():
    own = settings(amqp_url="amqps://u:p@mq.example/%2F", public_url="https://waybill.example")
    proxy = Proxy.parse("https://proxy.example:8443")
    assert tls_servers(own, proxy) == [
        ("proxy.example", 8443),
        ("mq.example", 5671),
        ("waybill.example", 443),
    ]
    plain = settings(amqp_url="amqp://u:p@mq.example/%2F", public_url="http://waybill.example")
    assert tls_servers(plain, Proxy.parse("http://proxy.example")) == []
