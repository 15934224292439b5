"""The programs of `docs/receive.md` against what a real engine sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import standardwebhooks
import svix.webhooks

from signing import generate_ed25519, generate_hmac, parse_secret, sign
from tests.support.guide import LANGUAGES, Language, Program, load_snippets, prepare_program
from tests.support.scenario import TIMEOUT_SECONDS
from tests.support.stack import wait_until
from tests.support.webhook_partner import Partner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.api import Api

# What does not survive being read and written again: spaces, an escape, a number, a letter beyond ASCII.
DATA = b'{"order" : 1042,\n  "total": 10.50, "who": "Zo\\u00eb \xe2\x82\xac \\/"}'
NO_MATCH = "no signature matches"
TOO_FAR = "the timestamp is too far from now"
OTHER_SECRET = generate_hmac(b"o" * 32).reveal()
OTHER_PUBLIC = generate_ed25519(b"o" * 32).public.to_text()


@dataclass(frozen=True, slots=True)
class Sent:
    """What arrived, and the key that its receiver has."""

    headers: Mapping[str, str]
    body: bytes
    key: str

    def with_headers(self, **changes: str) -> Mapping[str, str]:
        """The headers with some of them changed: `id`, `timestamp`, `signature`."""
        return {**self.headers, **{f"webhook-{name}": value for name, value in changes.items()}}


@dataclass(frozen=True, slots=True)
class Deliveries:
    """One event's deliveries: under a shared secret, under two while they rotate, under a key pair."""

    shared: Sent
    rotating: Sent
    older_secret: str
    paired: Sent


@pytest.fixture
def sent(engine: Api) -> Deliveries:
    """One event, posted byte for byte, as three endpoints got it from a worker a moment ago."""
    with Partner() as shared, Partner() as rotating, Partner() as paired:
        tenant = engine.create_tenant()
        secret = tenant.post("/v1/endpoints", {"url": shared.url})["secret"]
        endpoint = tenant.post("/v1/endpoints", {"url": rotating.url})
        rotated = tenant.post(f"/v1/endpoints/{endpoint['id']}/secrets/rotate", {"overlap_hours": 1})
        public = tenant.post("/v1/endpoints", {"url": paired.url, "signature": "v1a"})["public_key"]
        tenant.post_bytes("/v1/events", b'{"type": "order.created", "data": ' + DATA + b"}")
        partners = (shared, rotating, paired)
        wait_until(
            lambda: all(partner.calls for partner in partners), "three arrivals", seconds=TIMEOUT_SECONDS
        )
        came = [
            Sent(partner.calls[0].headers, partner.calls[0].body, key)
            for partner, key in zip(partners, (secret, rotated["secret"], public), strict=True)
        ]
        return Deliveries(came[0], came[1], endpoint["secret"], came[2])


@pytest.fixture(params=LANGUAGES, ids=lambda language: language.name)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    language: Language = request.param
    if not language.is_installed:
        pytest.skip(f"No {language.runtime} on this machine.")
    return prepare_program(language, tmp_path_factory.mktemp(language.name))


def test_guide_programs_accept_only_genuine_deliveries(sent: Deliveries, program: Program) -> None:
    shared, paired = sent.shared, sent.paired
    assert DATA in shared.body
    for one in (shared, sent.rotating, paired):
        assert program.run_verification(one.key, one.headers, one.body) == "verified"
    assert (
        program.run_verification(sent.older_secret, sent.rotating.headers, sent.rotating.body) == "verified"
    )
    for one, other_key in ((shared, OTHER_SECRET), (paired, OTHER_PUBLIC)):
        told = [
            program.run_verification(one.key, headers, body)
            for headers, body in (
                (one.headers, one.body.replace(b"1042", b"1043")),
                (one.headers, one.body + b"\n"),
                (one.headers, b""),
                (one.with_headers(id="evt_another"), one.body),
                (one.with_headers(timestamp=str(int(one.headers["webhook-timestamp"]) + 1)), one.body),
                (one.with_headers(signature="v1, v1a, v2,AAAA v1 , v1a,AAAA v1,???? v1a,????"), one.body),
            )
        ]
        assert told == [NO_MATCH] * 6
        assert program.run_verification(other_key, one.headers, one.body) == NO_MATCH
        for name in ("id", "timestamp", "signature"):
            assert (
                program.run_verification(one.key, one.with_headers(**{name: ""}), one.body)
                == "a header is missing"
            )
        assert (
            program.run_verification(one.key, one.with_headers(timestamp="now"), one.body)
            == "the timestamp is no number"
        )
    assert program.run_verification(paired.key, shared.headers, shared.body) == NO_MATCH
    assert program.run_verification(shared.key, paired.headers, paired.body) == NO_MATCH


def test_each_program_refuses_what_was_signed_long_ago_or_for_later(
    sent: Deliveries, program: Program
) -> None:
    one = sent.shared
    secret = parse_secret(one.key)
    now = int(time.time())
    told = {}
    for offset in (-3_600, -330, -240, 240, 330, 3_600):
        signed = sign([secret], message_id=one.headers["webhook-id"], timestamp=now + offset, body=one.body)
        told[offset] = program.run_verification(one.key, signed.to_dict(), one.body)
    late = {offset for offset, said in told.items() if said == TOO_FAR}
    assert late == {-3_600, -330, 330, 3_600}
    assert {told[-240], told[240]} == {"verified"}


def test_the_guide_has_a_program_for_each_language_and_no_other():
    assert set(load_snippets()) == {language.name for language in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_each_program_compares_with_what_its_language_has_for_it(language: Language):
    assert language.constant_time_compare in load_snippets()[language.name]


@pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.webhooks.Webhook])
def test_the_libraries_of_pypi_verify_real_deliveries_and_nothing_else(sent: Deliveries, library: Any):
    for one, key in (
        (sent.shared, sent.shared.key),
        (sent.rotating, sent.rotating.key),
        (sent.rotating, sent.older_secret),
    ):
        library(key).verify(one.body, dict(one.headers))
        for wrong_key, body in ((key, one.body + b" "), (OTHER_SECRET, one.body)):
            with pytest.raises(standardwebhooks.WebhookVerificationError):
                library(wrong_key).verify(body, dict(one.headers))
