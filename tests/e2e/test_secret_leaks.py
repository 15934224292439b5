"""A secret is shown once, to its owner, and then found nowhere: no log, answer, page or row has it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.secret_search import Evidence, MarkedSecret
from tests.support.secrets_scenario import SecretsScenario, make_marked_secret, make_v1a_secret
from tests.support.tcp_proxy import TcpProxy
from tests.support.webhook_partner import CannedResponse, Partner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.rabbitmq import PrivateRabbitMQ
    from tests.support.stack import Stack
    from tests.support.webhook_partner import ReceivedCall

SETTINGS = {"WAYBILL_LOG_LEVEL": "debug", "WAYBILL_LOG_FORMAT": "json", "WAYBILL_CONNECT_TIMEOUT": "2"}


@pytest.fixture
def confidant(stack: Stack, private_rabbitmq: PrivateRabbitMQ) -> Iterator[SecretsScenario]:
    """An engine at its most verbose that does not run yet, with passwords that are all different."""
    name, password = make_marked_secret("user"), make_marked_secret("amqp")
    private_rabbitmq.run_ctl("add_user", name, password)
    private_rabbitmq.run_ctl("set_permissions", name, ".*", ".*", ".*")
    wire: list[bytes] = []

    def ears() -> tuple[Callable[[bytes], None], Callable[[bytes], None]]:
        return wire.append, wire.append

    with TcpProxy("127.0.0.1", private_rabbitmq.port, ears) as proxy:
        url = f"amqp://{name}:{password}@127.0.0.1:{proxy.port}/%2F"
        stack.environment |= SETTINGS | {
            "WAYBILL_AMQP_URL": url,
            "WAYBILL_OPERATOR_KEY": make_marked_secret("operator"),
        }
        trusted = SecretsScenario(stack, password, wire)
        yield trusted
        trusted.close()
        stack.stop()
    private_rabbitmq.run_ctl("delete_user", name)


def content(_call: ReceivedCall) -> CannedResponse:
    return CannedResponse(200, body=b"so be it")


def unwell(_call: ReceivedCall) -> CannedResponse:
    return CannedResponse(503, body=b"not today")


def test_secrets_appear_only_where_they_are_meant_to(confidant: SecretsScenario) -> None:
    with ExitStack() as exits:
        well, ill, barred = (exits.enter_context(Partner(partner)) for partner in (content, unwell, content))
        stack = confidant.stack
        stack.serve("web")
        # `web` lets endpoints be made for any port; the workers then dial these alone.
        stack.environment["WAYBILL_ALLOW_PORTS"] = f"{well.port},{ill.port},{stack.port}"
        stack.serve("relay", "worker")
        confidant.create_tenant()
        endpoint = confidant.create_endpoint("a good endpoint", well.url)
        confidant.create_endpoint("one with a key pair", well.url, signature="v1a", secret=make_v1a_secret())
        confidant.create_endpoint("one that refuses", ill.url)
        shown = confidant.make_client_certificate()
        confidant.create_endpoint(
            "one without TLS", f"https://127.0.0.1:{stack.port}/in", client_certificate=shown
        )
        confidant.create_endpoint("one that is barred", barred.url)
        confidant.rotate_secrets(endpoint)
        confidant.make_mistakes(endpoint)
        confidant.publish_event()
        assert confidant.read_everything() >= {"delivered", "refused", "blocked", "unreachable"}
        assert confidant.crawl_console() > 30
        assert barred.calls == []
    confidant.run_misconfigured()
    confidant.collect_evidence()
    assert len(confidant.secrets) > 20
    assert confidant.evidence.find_leaks(confidant.secrets) == set()
    assert confidant.evidence.find_unseen(confidant.secrets) == set()


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
    secret = MarkedSecret("a secret", "marked-a/b+c-1234")
    assert {leak.partition(" (")[0] for leak in evidence.find_leaks([secret])} == {"a secret in a log"}
