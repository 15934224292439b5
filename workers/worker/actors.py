"""The Dramatiq actors: a message names a claim to deliver, or a replay that takes a step."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID

import dramatiq
import uvloop
from dramatiq.middleware import Middleware

from delivery.bootstrap import build_worker_runtime, expose_metrics
from delivery.domain.delivery import Priority
from delivery.domain.errors import Misconfigured, Unavailable
from delivery.domain.ids import ClaimId, Prefix, ReplayId, format_id
from delivery.log import get_logger
from delivery.telemetry.metrics.prometheus import clean_up_process
from workers.broker.broker import ADVANCE_REPLAY_ACTOR, DELIVER_ACTOR, DELIVER_REPLAYS_ACTOR, get_queue_name
from workers.garbage_collection import tune_gc

if TYPE_CHECKING:
    from concurrent.futures import Future

    from dramatiq import Broker

    from delivery.bootstrap import WorkerRuntime
    from delivery.config import Settings

log = get_logger()


class DeliveryActors(Middleware):
    """Runs the event loop on which a worker process delivers; the actors hand claims over to it.

    A claim's message is acknowledged as soon as the claim is started. From then on the lease brings it back
    if this process dies, not the message.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._runtime: WorkerRuntime | None = None

    def declare_actors(self, broker: Broker) -> None:
        """Declare the actors of both priorities."""
        for name, priority, actor in (
            (DELIVER_ACTOR, Priority.LIVE, self.start_claim),
            (DELIVER_REPLAYS_ACTOR, Priority.REPLAY, self.start_replay_claim),
            (ADVANCE_REPLAY_ACTOR, Priority.REPLAY, self.advance_replay),
        ):
            queue_name = get_queue_name(self._settings, priority)
            dramatiq.actor(actor_name=name, queue_name=queue_name, broker=broker)(actor)

    def start_claim(self, claim_id: str) -> None:
        """Start a claim; returns when its deliveries are in flight."""
        log.debug("claim.received", claim=claim_id)
        dispatcher = self._require_runtime().dispatcher
        starting = asyncio.run_coroutine_threadsafe(
            dispatcher.start_claim(ClaimId(UUID(claim_id))), self._loop
        )
        try:
            starting.result()
        except Unavailable as error:
            _log_not_started(claim_id, error)

    def start_replay_claim(self, claim_id: str) -> None:
        """Start a claim of replays once live work leaves room; returns at once.

        A thread that waited here would hold up live work. If this process dies meanwhile, the claim is still
        unstarted, and comes back when its lease lapses.
        """
        dispatcher = self._require_runtime().dispatcher
        starting = asyncio.run_coroutine_threadsafe(
            dispatcher.start_claim(ClaimId(UUID(claim_id)), replays=True), self._loop
        )
        starting.add_done_callback(lambda done: _log_claim_failure(claim_id, done))

    def advance_replay(self, replay_id: str) -> None:
        """Let a replay take a step; returns at once. A step that is lost is due again soon."""
        step = self._require_runtime().replay_runner.step(ReplayId(UUID(replay_id)))
        stepping = asyncio.run_coroutine_threadsafe(step, self._loop)
        stepping.add_done_callback(lambda done: _log_step_failure(replay_id, done))

    def before_worker_boot(self, _broker: Broker, _worker: object) -> None:
        """Start the loop and build the runtime on it; end the process if that fails.

        Dramatiq would log the error and continue to take messages, which would never be delivered.
        """
        try:
            self._boot()
        except Exception as error:
            log.critical("worker.cannot_start", why=str(error), exc_info=not isinstance(error, Misconfigured))
            raise SystemExit(1) from error

    def _boot(self) -> None:
        thread = threading.Thread(target=self._loop.run_forever, name="deliveries", daemon=True)
        thread.start()
        self._runtime = self._run(build_worker_runtime(self._settings))
        port = self._settings.worker_metrics_port
        runtime = self._runtime
        self._metrics_context = expose_metrics(
            self._settings, runtime.ledger, port=port, dispatcher=runtime.dispatcher
        )
        self._run(self._metrics_context.__aenter__())
        tune_gc()
        log.info("worker.ready", pid=os.getpid())

    def before_worker_shutdown(self, _broker: Broker, _worker: object) -> None:
        """Accept no more claims, and return those that wait for room."""
        runtime = self._require_runtime()
        self._loop.call_soon_threadsafe(runtime.dispatcher.close)
        self._loop.call_soon_threadsafe(runtime.replay_runner.close)

    def after_worker_shutdown(self, _broker: Broker, _worker: object) -> None:
        """Finish or return what is in flight, and stop the loop."""
        runtime = self._require_runtime()
        self._run(runtime.dispatcher.drain(self._settings.drain_timeout))
        self._run(runtime.replay_runner.wait_until_idle())
        self._run(self._metrics_context.__aexit__(None, None, None))
        self._run(runtime.close())
        clean_up_process()
        self._loop.call_soon_threadsafe(self._loop.stop)
        log.info("worker.stopped", pid=os.getpid())

    def _require_runtime(self) -> WorkerRuntime:
        if self._runtime is None:
            raise RuntimeError("The worker has not been booted.")
        return self._runtime

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def _log_claim_failure(claim_id: str, future: Future[int]) -> None:
    if future.cancelled() or (error := future.exception()) is None:
        return
    if isinstance(error, Unavailable):
        _log_not_started(claim_id, error)
    else:
        log.error("claim.crashed", claim=claim_id, error=repr(error), exc_info=error)


def _log_step_failure(replay_id: str, future: Future[None]) -> None:
    if future.cancelled() or (error := future.exception()) is None:
        return
    if isinstance(error, Unavailable):
        log.warning("replay.postponed", replay_id=format_id(Prefix.REPLAY, UUID(replay_id)), why=str(error))
    else:
        log.error(
            "replay.crashed",
            replay_id=format_id(Prefix.REPLAY, UUID(replay_id)),
            error=repr(error),
            exc_info=error,
        )


def _log_not_started(claim_id: str, error: Unavailable) -> None:
    # The claim is still unstarted, and comes back when its lease lapses.
    log.warning("claim.not_started", claim=claim_id, why=str(error))
