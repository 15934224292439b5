"""How many requests may be in flight, and how slow ones make room for others."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from delivery.dispatch.gate import Gate, GateClosed

AT_ONCE = timedelta(0)
NEVER = timedelta(days=1)


async def knock(gate: Gate, *, replays: bool = False) -> asyncio.Task[None]:
    """Ask to be let in, and come as far as one can without being."""
    asked = asyncio.create_task(gate.opened(replays=replays))
    await asyncio.sleep(0)
    return asked


async def test_it_is_open_until_every_fresh_place_is_taken() -> None:
    gate = Gate(fresh=2, most=9, detach=NEVER)
    one = gate.enter()
    await gate.opened()
    other = gate.enter()
    assert not gate.is_open
    asked = await knock(gate)
    assert not asked.done()
    one.leave()
    await asked
    assert gate.is_open
    other.leave()


async def test_a_request_that_is_slow_makes_room_for_others() -> None:
    gate = Gate(fresh=1, most=9, detach=AT_ONCE)
    slow = gate.enter()
    asked = await knock(gate)
    assert not asked.done()
    await asked  # nobody has left
    slow.leave()


async def test_slow_ones_and_fresh_ones_together_stay_below_the_most() -> None:
    gate = Gate(fresh=1, most=2, detach=AT_ONCE)
    places = []
    for _ in range(2):
        await gate.opened()
        places.append(gate.enter())
    asked = await knock(gate)
    for _ in range(5):
        await asyncio.sleep(0.001)  # both are slow by now
    assert not asked.done()
    places[0].leave()
    await asked
    places[1].leave()


async def test_a_slow_request_gives_its_place_back_once() -> None:
    gate = Gate(fresh=1, most=2, detach=AT_ONCE)
    slow = gate.enter()
    await gate.opened()
    slow.leave()
    one = gate.enter()
    assert not gate.is_open
    one.leave()


async def test_a_claim_may_take_more_places_than_there_were() -> None:
    gate = Gate(fresh=2, most=3, detach=NEVER)
    places = [gate.enter() for _ in range(5)]
    for place in places[:3]:
        place.leave()
        assert not gate.is_open
    places[3].leave()
    assert gate.is_open
    places[4].leave()


async def test_one_place_lets_one_in() -> None:
    gate = Gate(fresh=1, most=9, detach=NEVER)
    place = gate.enter()
    first, second = await knock(gate), await knock(gate)
    place.leave()
    await first
    place = gate.enter()
    await asyncio.sleep(0)
    assert not second.done()
    place.leave()
    await second


async def test_one_who_went_away_does_not_take_the_turn_along() -> None:
    gate = Gate(fresh=1, most=9, detach=NEVER)
    place = gate.enter()
    gone, patient = await knock(gate), await knock(gate)
    gone.cancel()
    await asyncio.wait([gone])
    place.leave()
    await patient


async def test_one_who_was_let_in_and_took_no_place_passes_the_turn_on() -> None:
    gate = Gate(fresh=1, most=9, detach=NEVER)
    place = gate.enter()
    first, second = await knock(gate), await knock(gate)
    place.leave()
    await first
    gate.wake()
    await second


async def test_whoever_waits_when_it_closes_is_told_and_so_is_everybody_after() -> None:
    gate = Gate(fresh=1, most=9, detach=NEVER)
    place = gate.enter()
    asked = [await knock(gate) for _ in range(3)]
    gate.close()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [GateClosed] * 3
    place.leave()
    with pytest.raises(GateClosed):
        await gate.opened()


async def test_replays_leave_half_of_the_fresh_places_to_live_work() -> None:
    gate = Gate(fresh=4, most=9, detach=NEVER)
    places = [gate.enter(), gate.enter()]
    replay = await knock(gate, replays=True)
    assert not replay.done()
    await gate.opened()
    places.pop().leave()
    await replay
    places.pop().leave()


async def test_live_work_that_waits_goes_before_replays_that_wait() -> None:
    gate = Gate(fresh=2, most=2, detach=NEVER)
    places = [gate.enter(), gate.enter()]
    replay, live = await knock(gate, replays=True), await knock(gate)
    places.pop().leave()
    await live
    assert not replay.done()
    places.pop().leave()
    await replay


async def test_replays_that_wait_are_sent_away_when_it_closes() -> None:
    gate = Gate(fresh=1, most=1, detach=NEVER)
    place = gate.enter()
    replay = await knock(gate, replays=True)
    gate.close()
    with pytest.raises(GateClosed):
        await replay
    place.leave()
