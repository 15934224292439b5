"""The transport behaves on uvloop, as in production, as on asyncio's own loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tests.integration import test_transport_connections as connections
from tests.integration import test_transport_dialling as dialling
from tests.integration import test_transport_proxy as proxied
from tests.integration import test_transport_responses as answers
from tests.integration import test_transport_tls as tls
from tests.support.receivers import CertificateAuthority, answer_endlessly

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

WITHOUT_PARAMETERS = [
    fact
    for module in (answers, connections, dialling)
    for name, fact in vars(module).items()
    if name.startswith("test_") and asyncio.iscoroutinefunction(fact) and not fact.__code__.co_argcount
]
OF_TLS = [fact for name, fact in vars(tls).items() if name.startswith("test_") and fact.__code__.co_argcount]


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(coroutine)


@pytest.mark.parametrize("fact", WITHOUT_PARAMETERS, ids=lambda fact: fact.__name__)
def test_on_uvloop(fact: Callable[[], Coroutine[Any, Any, None]]):
    run(fact())


@pytest.mark.parametrize("fact", OF_TLS, ids=lambda fact: fact.__name__)
def test_tls_on_uvloop(fact: Callable[[CertificateAuthority], Coroutine[Any, Any, None]]):
    run(fact(CertificateAuthority()))


def test_an_endless_response_on_uvloop():
    run(answers.test_an_endless_body_counts_with_its_status("200 OK"))


def test_endless_headers_on_uvloop():
    run(
        answers.test_invalid_http_is_a_protocol_fault(answer_endlessly(answers.OK_HEAD, b"X-A: b\r\n" * 1000))
    )


@pytest.mark.parametrize("scheme", proxied.SCHEMES)
@pytest.mark.parametrize("encrypted", [True, False])
def test_a_delivery_through_a_proxy_on_uvloop(scheme: str, *, encrypted: bool):
    run(
        proxied.test_deliveries_use_the_proxy_and_reuse_its_connection(
            CertificateAuthority(), scheme, encrypted=encrypted
        )
    )
