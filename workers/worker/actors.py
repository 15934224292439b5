"""The actors: a message names a claim whose deliveries go on their way, or a replay that takes a step."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import dramatiq
import structlog
import uvloop
from dramatiq.middleware import Middleware

from delivery.bootstrap import watched, worker_parts
from delivery.errors import Misconfigured, Unavailable
from delivery.garbage import collect_seldom
from delivery.metrics.exposition import leave
from delivery.model import ClaimId, Lane, Prefix, ReplayId, show_id
from workers.broker import ACTOR, ADVANCE_ACTOR, REPLAY_ACTOR, queue_of

if TYPE_CHECKING:
    from concurrent.futures import Future

    from dramatiq import Broker

    from delivery.bootstrap import WorkerParts
    from delivery.config import Settings

log = structlog.get_logger()


class Deliveries(Middleware):
    """Runs the event loop on which a worker process delivers; its actors hand claims over to it.

    A claim's message is acknowledged as soon as the claim is started: from then on its lease, not the
    message, is what brings it back should this process die.
    """

    def __init__(self, settings: Settings) -> None:
        """Nothing runs until the worker boots."""
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._parts: WorkerParts | None = None

    def declare(self, broker: Broker) -> None:
        """Declare the actors of every lane."""
        for name, lane, act in (
            (ACTOR, Lane.LIVE, self.start),
            (REPLAY_ACTOR, Lane.REPLAY, self.start_replays),
            (ADVANCE_ACTOR, Lane.REPLAY, self.advance_replay),
        ):
            dramatiq.actor(actor_name=name, queue_name=queue_of(self._settings, lane), broker=broker)(act)

    def start(self, claim: str) -> None:
        """Start the claim of this id; returns when its deliveries are on their way."""
        log.debug("claim.received", claim=claim)
        dispatcher = self._running_parts().dispatcher
        starting = asyncio.run_coroutine_threadsafe(dispatcher.start(ClaimId(UUID(claim))), self._loop)
        try:
            starting.result()
        except Unavailable as error:
            _say_not_started(claim, error)

    def start_replays(self, claim: str) -> None:
        """Have the claim of this id started once live work leaves room; returns at once.

        A thread that waited here would keep live work waiting. Should this process die meanwhile, the claim
        is still unstarted, and its lease tells.
        """
        dispatcher = self._running_parts().dispatcher
        starting = asyncio.run_coroutine_threadsafe(
            dispatcher.start(ClaimId(UUID(claim)), replays=True), self._loop
        )
        starting.add_done_callback(lambda done: _say_how_it_went(claim, done))

    def advance_replay(self, replay: str) -> None:
        """Have the replay of this id take a step; returns at once. A step that is lost is due again soon."""
        step = self._running_parts().advancer.step(ReplayId(UUID(replay)))
        stepping = asyncio.run_coroutine_threadsafe(step, self._loop)
        stepping.add_done_callback(lambda done: _say_how_the_step_went(replay, done))

    def before_worker_boot(self, _broker: Broker, _worker: object) -> None:
        """Start the loop and wire the parts on it. A process that cannot do that ends.

        Dramatiq would log it and go on, with messages that nobody delivers.
        """
        try:
            self._boot()
        except Exception as error:
            log.critical("worker.cannot_start", why=str(error), exc_info=not isinstance(error, Misconfigured))
            raise SystemExit(1) from error

    def _boot(self) -> None:
        thread = threading.Thread(target=self._loop.run_forever, name="deliveries", daemon=True)
        thread.start()
        self._parts = self._run(worker_parts(self._settings))
        port = self._settings.worker_metrics_port
        parts = self._parts
        self._watched = watched(self._settings, parts.ledger, port=port, dispatcher=parts.dispatcher)
        self._run(self._watched.__aenter__())
        collect_seldom()
        log.info("worker.ready", pid=os.getpid())

    def before_worker_shutdown(self, _broker: Broker, _worker: object) -> None:
        """Take no more claims: those that wait for room go back."""
        parts = self._running_parts()
        self._loop.call_soon_threadsafe(parts.dispatcher.close)
        self._loop.call_soon_threadsafe(parts.advancer.close)

    def after_worker_shutdown(self, _broker: Broker, _worker: object) -> None:
        """Finish what is in flight, or hand it back, and stop the loop."""
        parts = self._running_parts()
        self._run(parts.dispatcher.drain(timedelta(seconds=self._settings.drain_seconds)))
        self._run(parts.advancer.settle())
        self._run(self._watched.__aexit__(None, None, None))
        self._run(parts.close())
        leave()
        self._loop.call_soon_threadsafe(self._loop.stop)
        log.info("worker.stopped", pid=os.getpid())

    def _running_parts(self) -> WorkerParts:
        if self._parts is None:
            raise RuntimeError("The worker has not been booted.")
        return self._parts

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def _say_how_it_went(claim: str, done: Future[int]) -> None:
    if done.cancelled() or (error := done.exception()) is None:
        return
    if isinstance(error, Unavailable):
        _say_not_started(claim, error)
    else:
        log.error("claim.broke_off", claim=claim, error=repr(error), exc_info=error)


def _say_how_the_step_went(replay: str, done: Future[None]) -> None:
    if done.cancelled() or (error := done.exception()) is None:
        return
    if isinstance(error, Unavailable):
        log.warning("replay.put_off", replay_id=show_id(Prefix.REPLAY, UUID(replay)), why=str(error))
    else:
        log.error(
            "replay.broke_off",
            replay_id=show_id(Prefix.REPLAY, UUID(replay)),
            error=repr(error),
            exc_info=error,
        )


def _say_not_started(claim: str, error: Unavailable) -> None:
    # Not a fault of the message: the claim is still unstarted, and its lease will tell.
    log.warning("claim.not_started", claim=claim, why=str(error))
