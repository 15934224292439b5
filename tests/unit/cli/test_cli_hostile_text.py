"""Control characters of a hostile tenant or receiver never reach the terminal."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from delivery.cli.output.deliveries import DeliveryWithAttempts, print_attempt, print_history
from delivery.cli.output.endpoints import print_endpoint
from delivery.cli.output.table import Column, print_facts, print_json, print_note, print_table, print_text
from delivery.cli.runtime import report_error
from delivery.domain.endpoint import EndpointState
from delivery.domain.errors import Conflict
from delivery.schemas.deliveries import AttemptOut, DeliveryOut
from delivery.schemas.endpoints import EndpointOut
from delivery.services.deliveries import AttemptDetails
from tests.unit.cli.records import ATTEMPT, DELIVERY, ENDPOINT, MADE, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\x08\x7f\x00\r\u202egnp\u2066\u2028\x85 [red]x[/red]"
COMMANDING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
ENDPOINT_OF_EVIL = replace(
    ENDPOINT,
    url=f"https://shop.example/{EVIL}",
    description=EVIL,
    filter=(EVIL,),
    state=EndpointState.PAUSED,
    state_reason=EVIL,
    state_actor=EVIL,
    header_names=(EVIL,),
)
DELIVERY_OF_EVIL = replace(DELIVERY, event_type=EVIL, matched_by=EVIL, reason=EVIL)
ATTEMPT_OF_EVIL = replace(
    ATTEMPT,
    url=ENDPOINT_OF_EVIL.url,
    address=EVIL,
    request_headers={EVIL: EVIL},
    response_headers=((EVIL, EVIL),),
    response_body=EVIL.encode() + b"\x1b[2J\xff\x9b",
    outcome=EVIL,
    detail=EVIL,
    decision=EVIL,
    reason=EVIL,
    worker=EVIL,
)
SHOWN: dict[str, Callable[[], object]] = {
    "endpoint": lambda: print_endpoint(ENDPOINT_OF_EVIL, [SECRET], now=MADE),
    "endpoint as JSON": lambda: print_json(EndpointOut.from_record(ENDPOINT_OF_EVIL)),
    "delivery": lambda: print_history(
        DeliveryWithAttempts(DELIVERY_OF_EVIL, ENDPOINT_OF_EVIL, [ATTEMPT_OF_EVIL]), now=MADE
    ),
    "delivery as JSON": lambda: print_json(DeliveryOut.from_record(DELIVERY_OF_EVIL)),
    "attempt": lambda: print_attempt(AttemptDetails(ATTEMPT_OF_EVIL, EVIL.encode())),
    "attempt as JSON": lambda: print_json(AttemptOut.from_record(ATTEMPT_OF_EVIL)),
    "table": lambda: print_table(
        [Column("A"), Column("B", shrinkable=True)], [(EVIL, EVIL)], empty_message=""
    ),
    "facts": lambda: print_facts([(EVIL, EVIL)], title=EVIL),
    "sentence": lambda: print_text(EVIL),
    "note": lambda: print_note(EVIL),
    "refusal": lambda: report_error(Conflict(EVIL)),
}


@pytest.mark.parametrize("what", SHOWN)
@pytest.mark.parametrize("columns", ["40", "200"])
def test_nothing_that_is_shown_commands_the_terminal(
    what: str, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    SHOWN[what]()
    printed = capsys.readouterr()
    whole = printed.out + printed.err
    assert whole.strip()
    assert COMMANDING.findall(whole) == []


def test_json_still_says_what_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(EndpointOut.from_record(ENDPOINT_OF_EVIL))
    assert json.loads(capsys.readouterr().out)["description"] == EVIL
