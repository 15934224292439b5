"""Concurrent callers share one lookup, and a bounded dict drops the entry written longest ago."""

from __future__ import annotations

import asyncio

import pytest

from delivery.domain.single_flight import BoundedDict, SingleFlight


class Lookup:
    """A lookup that counts its runs and answers when it may."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.may_answer = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.runs += 1
        run = self.runs
        await self.may_answer.wait()
        if self._error is not None:
            raise self._error
        return run


async def start(flight: SingleFlight[str, int], lookup: Lookup, count: int = 1) -> list[asyncio.Task[int]]:
    callers = [asyncio.create_task(flight.run("key", lookup)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return callers


async def test_concurrent_callers_share_one_lookup() -> None:
    flight, lookup = SingleFlight[str, int](), Lookup()
    callers = await start(flight, lookup, 10)
    lookup.may_answer.set()
    assert await asyncio.gather(*callers) == [1] * 10
    assert await flight.run("key", lookup) == 2


async def test_a_cancelled_caller_does_not_cancel_the_lookup() -> None:
    flight, lookup = SingleFlight[str, int](), Lookup()
    first, second = await start(flight, lookup, 2)
    first.cancel()
    await asyncio.sleep(0)
    lookup.may_answer.set()
    assert await second == 1


async def test_an_error_reaches_every_caller_and_is_not_remembered() -> None:
    flight, lookup = SingleFlight[str, int](), Lookup(OSError("down"))
    callers = await start(flight, lookup, 3)
    lookup.may_answer.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(error) for error in errors} == {OSError}
    working = Lookup()
    working.may_answer.set()
    assert await flight.run("key", working) == 1


async def test_after_forget_the_next_caller_starts_a_new_lookup() -> None:
    flight, lookup = SingleFlight[str, int](), Lookup()
    [old] = await start(flight, lookup)
    flight.forget("key")
    [new] = await start(flight, lookup)
    lookup.may_answer.set()
    assert (await old, await new) == (1, 2)


async def test_a_forgotten_lookup_knows_that_it_is_not_current() -> None:
    flight, lookup = SingleFlight[str, int](), Lookup()

    async def is_current() -> int:
        await lookup()
        return int(flight.is_current("key"))

    old = asyncio.create_task(flight.run("key", is_current))
    await asyncio.sleep(0)
    flight.forget("key")
    new = asyncio.create_task(flight.run("key", is_current))
    await asyncio.sleep(0)
    lookup.may_answer.set()
    assert (await old, await new) == (0, 1)


async def test_closing_cancels_running_lookups() -> None:
    flight, lookup = SingleFlight[str, int](), Lookup()
    [caller] = await start(flight, lookup)
    await flight.aclose()
    with pytest.raises(asyncio.CancelledError):
        await caller


def test_a_bounded_dict_drops_the_entry_written_longest_ago() -> None:
    bounded = BoundedDict[str, int](2)
    bounded["a"] = 1
    bounded["b"] = 2
    bounded["a"] = 3
    bounded["c"] = 4
    assert dict(bounded) == {"a": 3, "c": 4}
