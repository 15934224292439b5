from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from delivery.cli.commands.demo.result import LedgerDelivery, ReceiverTally, find_missing

EVENTS = ["evt_1", "evt_2"]
WELL = ReceiverTally(
    name="warehouse",
    down=False,
    refused=0,
    forged=0,
    verified={"evt_1": 1, "evt_2": 1},
    deliveries=[LedgerDelivery(f"dlv_{e}", e, "succeeded", 1, timedelta(milliseconds=20)) for e in EVENTS],
)
DOWN = ReceiverTally(
    name="crm",
    down=True,
    refused=0,
    forged=0,
    verified={},
    deliveries=[
        LedgerDelivery(f"dlv_{e}", e, "pending", 3, None, "The endpoint refused the connection.")
        for e in EVENTS
    ],
)


HELD = replace(
    DOWN,
    deliveries=[
        LedgerDelivery("dlv_evt_1", "evt_1", "pending", 0, None, None, "breaker_open"),
        DOWN.deliveries[1],
    ],
)


def with_first_delivery(tally: ReceiverTally, **changes: object) -> ReceiverTally:
    first, *others = tally.deliveries
    return replace(tally, deliveries=[replace(first, **changes), *others])  # type: ignore[arg-type]


def test_nothing_is_missing_when_all_is_delivered_and_the_rest_is_held() -> None:
    assert find_missing([WELL, DOWN, HELD], EVENTS, published=2) == []


@pytest.mark.parametrize(
    ("tally", "said"),
    [
        (replace(WELL, verified={"evt_1": 1}), "no verified delivery arrived of evt_2"),
        (replace(WELL, forged=1), "1 signatures did not verify"),
        (replace(WELL, deliveries=WELL.deliveries[:1]), "no delivery for evt_2"),
        (replace(WELL, deliveries=[*WELL.deliveries, WELL.deliveries[0]]), "3 deliveries for 2 events"),
        (with_first_delivery(WELL, status="pending"), "does not call delivered evt_1"),
        (replace(WELL, refused=1), "2 attempts are recorded, and 3 were seen"),
        (with_first_delivery(DOWN, detail=None), "does not say why it waits with evt_1"),
        (with_first_delivery(DOWN, attempts=0), "does not say why it waits with evt_1"),
        (with_first_delivery(DOWN, status="cancelled"), "does not hold evt_1"),
        (replace(DOWN, deliveries=[]), "no delivery for evt_1 and 1 more"),
    ],
)
def test_what_is_missing_is_named(tally: ReceiverTally, said: str) -> None:
    assert said in " ".join(find_missing([tally], EVENTS, published=2))


def test_an_event_that_was_not_accepted_is_missed() -> None:
    assert find_missing([], ["evt_1"], published=2) == ["2 events were published and 1 accepted."]


def test_latency_is_what_a_share_of_the_deliveries_stayed_within() -> None:
    slow = replace(WELL.deliveries[0], took=timedelta(seconds=3))
    tally = replace(WELL, deliveries=[*[WELL.deliveries[0]] * 9, slow])
    assert tally.latency(0.5) == timedelta(milliseconds=20)
    assert tally.latency(0.95) == timedelta(seconds=3)
    assert DOWN.latency(0.5) is None
