"""A secret is told once, to whom it is for, and then found nowhere: no log, answer, page or row has it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.confiding import Confidant, mark, own_v1a_secret
from tests.support.marked import Evidence, Secret
from tests.support.partner import Answer, Partner
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.partner import Call
    from tests.support.rabbitmq import PrivateRabbitMQ
    from tests.support.stack import Stack

SETTINGS = {"WAYBILL_LOG_LEVEL": "debug", "WAYBILL_LOG_FORMAT": "json", "WAYBILL_CONNECT_TIMEOUT": "2"}


@pytest.fixture
def confidant(stack: Stack, private_rabbitmq: PrivateRabbitMQ) -> Iterator[Confidant]:
    """An engine at its most talkative that does not run yet, and whose passwords can all be told apart."""
    name, password = mark("user"), mark("amqp")
    private_rabbitmq.ctl("add_user", name, password)
    private_rabbitmq.ctl("set_permissions", name, ".*", ".*", ".*")
    wire: list[bytes] = []

    def ears() -> tuple[Callable[[bytes], None], Callable[[bytes], None]]:
        return wire.append, wire.append

    with Proxy("127.0.0.1", private_rabbitmq.port, ears) as proxy:
        url = f"amqp://{name}:{password}@127.0.0.1:{proxy.port}/%2F"
        stack.environment |= SETTINGS | {"WAYBILL_AMQP_URL": url, "WAYBILL_OPERATOR_KEY": mark("operator")}
        trusted = Confidant(stack, password, wire)
        yield trusted
        trusted.close()
        stack.stop()
    private_rabbitmq.ctl("delete_user", name)


def content(_call: Call) -> Answer:
    return Answer(200, body=b"so be it")


def unwell(_call: Call) -> Answer:
    return Answer(503, body=b"not today")


def test_a_secret_is_seen_where_it_is_told_and_nowhere_else(confidant: Confidant) -> None:
    with ExitStack() as exits:
        well, ill, barred = (exits.enter_context(Partner(partner)) for partner in (content, unwell, content))
        stack = confidant.stack
        stack.serve("web")
        # `web` lets endpoints be made for any port; the workers then dial these alone.
        stack.environment["WAYBILL_ALLOW_PORTS"] = f"{well.port},{ill.port},{stack.port}"
        stack.serve("relay", "worker")
        confidant.begin()
        endpoint = confidant.subscribe("a good endpoint", well.url)
        confidant.subscribe("one with a key pair", well.url, signature="v1a", secret=own_v1a_secret())
        confidant.subscribe("one that refuses", ill.url)
        shown = confidant.identity()
        confidant.subscribe("one without TLS", f"https://127.0.0.1:{stack.port}/in", client_certificate=shown)
        confidant.subscribe("one that is barred", barred.url)
        confidant.rotate(endpoint)
        confidant.blunder(endpoint)
        confidant.publish()
        assert confidant.look_everywhere() >= {"delivered", "refused", "blocked", "unreachable"}
        assert confidant.visit() > 30
        assert barred.calls == []
    confidant.run_wrongly()
    confidant.collect()
    assert len(confidant.secrets) > 20
    assert confidant.evidence.leaks(confidant.secrets) == set()
    assert confidant.evidence.unseen(confidant.secrets) == set()


@pytest.mark.parametrize(
    "looks",
    [
        "marked-a/b+c-1234",
        "bWFya2VkLWEvYitjLTEyMzQ",
        "6d61726b65642d612f622b632d31323334",
        "marked-a%2Fb%2Bc-1234",
    ],
)
def test_the_search_finds_a_secret_in_whatever_shape(looks: str) -> None:
    evidence = Evidence()
    evidence.add("a log", f"before {looks} after")
    secret = Secret("a secret", "marked-a/b+c-1234")
    assert {leak.partition(" (")[0] for leak in evidence.leaks([secret])} == {"a secret in a log"}
