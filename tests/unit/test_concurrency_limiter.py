"""How many requests may be in flight, and how slow ones make room for others."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from delivery.pipeline.concurrency import ConcurrencyLimiter, LimiterClosed

AT_ONCE = timedelta(0)
NEVER = timedelta(days=1)


async def knock(gate: ConcurrencyLimiter, *, replays: bool = False) -> asyncio.Task[None]:
    """Ask to be let in, and come as far as one can without being."""
    asked = asyncio.create_task(gate.wait_until_open(replays=replays))
    await asyncio.sleep(0)
    return asked


async def test_limiter_is_open_until_all_fresh_slots_are_used() -> None:
    gate = ConcurrencyLimiter(max_fresh=2, max_total=9, slow_after=NEVER)
    one = gate.acquire_slot()
    await gate.wait_until_open()
    other = gate.acquire_slot()
    assert not gate.is_open
    asked = await knock(gate)
    assert not asked.done()
    one.release()
    await asked
    assert gate.is_open
    other.release()


async def test_a_request_that_is_slow_makes_room_for_others() -> None:
    gate = ConcurrencyLimiter(max_fresh=1, max_total=9, slow_after=AT_ONCE)
    slow = gate.acquire_slot()
    asked = await knock(gate)
    assert not asked.done()
    await asked  # nobody has left
    slow.release()


async def test_slow_and_fresh_requests_never_exceed_the_maximum() -> None:
    gate = ConcurrencyLimiter(max_fresh=1, max_total=2, slow_after=AT_ONCE)
    places = []
    for _ in range(2):
        await gate.wait_until_open()
        places.append(gate.acquire_slot())
    asked = await knock(gate)
    for _ in range(5):
        await asyncio.sleep(0.001)  # both are slow by now
    assert not asked.done()
    places[0].release()
    await asked
    places[1].release()


async def test_a_slow_request_gives_its_place_back_once() -> None:
    gate = ConcurrencyLimiter(max_fresh=1, max_total=2, slow_after=AT_ONCE)
    slow = gate.acquire_slot()
    await gate.wait_until_open()
    slow.release()
    one = gate.acquire_slot()
    assert not gate.is_open
    one.release()


async def test_a_claim_may_take_more_places_than_there_were() -> None:
    gate = ConcurrencyLimiter(max_fresh=2, max_total=3, slow_after=NEVER)
    places = [gate.acquire_slot() for _ in range(5)]
    for place in places[:3]:
        place.release()
        assert not gate.is_open
    places[3].release()
    assert gate.is_open
    places[4].release()


async def test_freed_slot_admits_one_waiter() -> None:
    gate = ConcurrencyLimiter(max_fresh=1, max_total=9, slow_after=NEVER)
    place = gate.acquire_slot()
    first, second = await knock(gate), await knock(gate)
    place.release()
    await first
    place = gate.acquire_slot()
    await asyncio.sleep(0)
    assert not second.done()
    place.release()
    await second


async def test_cancelled_waiter_passes_its_turn_on() -> None:
    gate = ConcurrencyLimiter(max_fresh=1, max_total=9, slow_after=NEVER)
    place = gate.acquire_slot()
    gone, patient = await knock(gate), await knock(gate)
    gone.cancel()
    await asyncio.wait([gone])
    place.release()
    await patient


async def test_admitted_waiter_that_takes_no_slot_passes_its_turn_on() -> None:
    gate = ConcurrencyLimiter(max_fresh=1, max_total=9, slow_after=NEVER)
    place = gate.acquire_slot()
    first, second = await knock(gate), await knock(gate)
    place.release()
    await first
    gate.wake_next()
    await second


async def test_closing_rejects_current_and_later_waiters() -> None:
    gate = ConcurrencyLimiter(max_fresh=1, max_total=9, slow_after=NEVER)
    place = gate.acquire_slot()
    asked = [await knock(gate) for _ in range(3)]
    gate.close()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [LimiterClosed] * 3
    place.release()
    with pytest.raises(LimiterClosed):
        await gate.wait_until_open()


async def test_replays_leave_half_of_the_fresh_places_to_live_work() -> None:
    gate = ConcurrencyLimiter(max_fresh=4, max_total=9, slow_after=NEVER)
    places = [gate.acquire_slot(), gate.acquire_slot()]
    replay = await knock(gate, replays=True)
    assert not replay.done()
    await gate.wait_until_open()
    places.pop().release()
    await replay
    places.pop().release()


async def test_live_work_that_waits_goes_before_replays_that_wait() -> None:
    gate = ConcurrencyLimiter(max_fresh=2, max_total=2, slow_after=NEVER)
    places = [gate.acquire_slot(), gate.acquire_slot()]
    replay, live = await knock(gate, replays=True), await knock(gate)
    places.pop().release()
    await live
    assert not replay.done()
    places.pop().release()
    await replay


async def test_replays_that_wait_are_sent_away_when_it_closes() -> None:
    gate = ConcurrencyLimiter(max_fresh=1, max_total=1, slow_after=NEVER)
    place = gate.acquire_slot()
    replay = await knock(gate, replays=True)
    gate.close()
    with pytest.raises(LimiterClosed):
        await replay
    place.release()
