"""The concurrency limiter bounds the requests in flight, and slow ones make room for others."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from delivery.pipeline.concurrency import ConcurrencyLimiter, LimiterClosed

AT_ONCE = timedelta(0)
NEVER = timedelta(days=1)


async def start_waiting(limiter: ConcurrencyLimiter, *, replays: bool = False) -> asyncio.Task[None]:
    """Start to wait at the limiter, as far as that goes without a free slot."""
    waiter = asyncio.create_task(limiter.wait_until_open(replays=replays))
    await asyncio.sleep(0)
    return waiter


async def test_limiter_is_open_until_all_fresh_slots_are_used() -> None:
    limiter = ConcurrencyLimiter(max_fresh=2, max_total=9, slow_after=NEVER)
    one = limiter.acquire_slot()
    await limiter.wait_until_open()
    other = limiter.acquire_slot()
    assert not limiter.is_open
    waiter = await start_waiting(limiter)
    assert not waiter.done()
    one.release()
    await waiter
    assert limiter.is_open
    other.release()


async def test_a_slow_request_makes_room_for_others() -> None:
    limiter = ConcurrencyLimiter(max_fresh=1, max_total=9, slow_after=AT_ONCE)
    slow = limiter.acquire_slot()
    waiter = await start_waiting(limiter)
    assert not waiter.done()
    await waiter  # no slot was released
    slow.release()


async def test_slow_and_fresh_requests_never_exceed_the_maximum() -> None:
    limiter = ConcurrencyLimiter(max_fresh=1, max_total=2, slow_after=AT_ONCE)
    slots = []
    for _ in range(2):
        await limiter.wait_until_open()
        slots.append(limiter.acquire_slot())
    waiter = await start_waiting(limiter)
    for _ in range(5):
        await asyncio.sleep(0.001)  # both are slow by now
    assert not waiter.done()
    slots[0].release()
    await waiter
    slots[1].release()


async def test_a_slow_request_frees_its_slot_once() -> None:
    limiter = ConcurrencyLimiter(max_fresh=1, max_total=2, slow_after=AT_ONCE)
    slow = limiter.acquire_slot()
    await limiter.wait_until_open()
    slow.release()
    one = limiter.acquire_slot()
    assert not limiter.is_open
    one.release()


async def test_a_claim_may_take_more_slots_than_are_free() -> None:
    limiter = ConcurrencyLimiter(max_fresh=2, max_total=3, slow_after=NEVER)
    slots = [limiter.acquire_slot() for _ in range(5)]
    for slot in slots[:3]:
        slot.release()
        assert not limiter.is_open
    slots[3].release()
    assert limiter.is_open
    slots[4].release()


async def test_freed_slot_admits_one_waiter() -> None:
    limiter = ConcurrencyLimiter(max_fresh=1, max_total=9, slow_after=NEVER)
    slot = limiter.acquire_slot()
    first, second = await start_waiting(limiter), await start_waiting(limiter)
    slot.release()
    await first
    slot = limiter.acquire_slot()
    await asyncio.sleep(0)
    assert not second.done()
    slot.release()
    await second


async def test_cancelled_waiter_passes_its_turn_on() -> None:
    limiter = ConcurrencyLimiter(max_fresh=1, max_total=9, slow_after=NEVER)
    slot = limiter.acquire_slot()
    gone, patient = await start_waiting(limiter), await start_waiting(limiter)
    gone.cancel()
    await asyncio.wait([gone])
    slot.release()
    await patient


async def test_admitted_waiter_that_takes_no_slot_passes_its_turn_on() -> None:
    limiter = ConcurrencyLimiter(max_fresh=1, max_total=9, slow_after=NEVER)
    slot = limiter.acquire_slot()
    first, second = await start_waiting(limiter), await start_waiting(limiter)
    slot.release()
    await first
    limiter.wake_next()
    await second


async def test_closing_rejects_current_and_later_waiters() -> None:
    limiter = ConcurrencyLimiter(max_fresh=1, max_total=9, slow_after=NEVER)
    slot = limiter.acquire_slot()
    waiter = [await start_waiting(limiter) for _ in range(3)]
    limiter.close()
    answers = await asyncio.gather(*waiter, return_exceptions=True)
    assert [type(answer) for answer in answers] == [LimiterClosed] * 3
    slot.release()
    with pytest.raises(LimiterClosed):
        await limiter.wait_until_open()


async def test_replays_leave_half_of_the_fresh_slots_to_live_work() -> None:
    limiter = ConcurrencyLimiter(max_fresh=4, max_total=9, slow_after=NEVER)
    slots = [limiter.acquire_slot(), limiter.acquire_slot()]
    replay = await start_waiting(limiter, replays=True)
    assert not replay.done()
    await limiter.wait_until_open()
    slots.pop().release()
    await replay
    slots.pop().release()


async def test_waiting_live_work_goes_before_waiting_replays() -> None:
    limiter = ConcurrencyLimiter(max_fresh=2, max_total=2, slow_after=NEVER)
    slots = [limiter.acquire_slot(), limiter.acquire_slot()]
    replay, live = await start_waiting(limiter, replays=True), await start_waiting(limiter)
    slots.pop().release()
    await live
    assert not replay.done()
    slots.pop().release()
    await replay


async def test_closing_rejects_waiting_replays() -> None:
    limiter = ConcurrencyLimiter(max_fresh=1, max_total=1, slow_after=NEVER)
    slot = limiter.acquire_slot()
    replay = await start_waiting(limiter, replays=True)
    limiter.close()
    with pytest.raises(LimiterClosed):
        await replay
    slot.release()
