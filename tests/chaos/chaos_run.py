"""One run: a steady load, one fault after the other in an order of the seed's, and the account at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.chaos.fault import UnsupportedFaultError
from tests.chaos.producers import Producers
from tests.chaos.receivers import ReliableReceiver, run_bad_receivers
from tests.chaos.reconciliation import (
    Reconciliation,
    count_open_claims,
    count_outcomes,
    has_pending_deliveries,
    reconcile,
)
from tests.support.api import Api
from tests.support.scenario import publish_events, wait_for_success
from tests.support.stack import OPERATOR_KEY, wait_until

if TYPE_CHECKING:
    from random import Random

    from tests.chaos.environment import ChaosEnvironment
    from tests.chaos.fault import Fault
    from tests.chaos.overload import OverloadReport

PER_SECOND = 20.0
ENDPOINTS = 2
NAMED_HOST = "well.chaos.test"
REPLAYED_EVENTS = 60
# Nothing may take longer than that to be whole again; what does is stuck.
MAX_RECOVERY_SECONDS = 90.0

PrintLine = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FaultReport:
    """What came of a fault: how long it lasted, and after how long everything was well again."""

    fault: Fault
    duration_seconds: float = 0.0
    recovery_seconds: float | None = None
    remark: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it happened, and was over in time."""
        return (
            self.recovery_seconds is not None
            and self.recovery_seconds <= self.fault.max_recovery_seconds
            and not self.remark
        )


@dataclass(slots=True)
class RunReport:
    """What came of a run."""

    seed: int
    fault_reports: list[FaultReport] = field(default_factory=list)
    skipped: list[tuple[Fault, str]] = field(default_factory=list)
    reconciliation: Reconciliation = field(default_factory=Reconciliation)
    bad_receiver_outcomes: Sequence[tuple[str, str, int]] = ()
    producer_summary: str = ""
    overload: OverloadReport | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        flooded = self.overload is None or not self.overload.errors
        struck = bool(self.fault_reports) and all(one.is_well for one in self.fault_reports)
        return flooded and struck and not self.reconciliation.errors

    def to_json(self) -> dict[str, Any]:
        """Everything in one line."""
        return {
            "seed": self.seed,
            "faults": len(self.fault_reports),
            "accepted": self.reconciliation.accepted,
            "delivered": self.reconciliation.delivered,
            "lost": self.reconciliation.lost,
            "duplicates": self.reconciliation.duplicates,
            "stuck": self.reconciliation.stuck,
            "max_recovery_s": max(
                (round(one.recovery_seconds or MAX_RECOVERY_SECONDS, 1) for one in self.fault_reports),
                default=None,
            ),
        }


class ChaosRun:
    """The load and those who receive it, around faults that are struck one by one."""

    def __init__(self, ground: ChaosEnvironment, *, seed: int, say: PrintLine) -> None:
        """Nothing runs yet."""
        self._ground = ground
        self._seed = seed
        self._say = say
        self._exits = ExitStack()
        self.outcome = RunReport(seed)

    def __enter__(self) -> Self:
        urls = self._exits.enter_context(run_bad_receivers(self._ground.folder / "authority.pem"))
        self._ground.trust_authority(self._ground.folder / "authority.pem")
        self._exits.enter_context(self._ground)
        self.operator = operator = Api(f"http://127.0.0.1:{self._ground.ports['web']}", OPERATOR_KEY)
        self._tenant, key = _create_tenant(operator, "Well")
        hosts = [None] * ENDPOINTS if self._ground.name_server is None else [*[None] * ENDPOINTS, NAMED_HOST]
        self._wells = dict(self._subscribe(key, host) for host in hosts)
        ports = list(self._ground.ports.values())
        self._producers = Producers(ports, key.key, seed=self._seed, per_second=PER_SECOND)
        self._exits.enter_context(self._producers)
        self._ill, ill = _create_tenant(operator, "Unwell")
        for name, url in urls.items():
            _create_endpoint(ill, url, name)
        self._ill_producers = Producers(
            ports, ill.key, seed=self._seed + 1, per_second=0.5, type_="order.created"
        )
        self._exits.enter_context(self._ill_producers)
        self._prepare_replays(operator)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def inject(self, fault: Fault, rng: Random) -> None:
        """Have one fault, and wait until all that was accepted before its end has arrived, and newer too."""
        began = time.monotonic()
        try:
            fault.inject(self._ground, rng)
            remark = ""
        except UnsupportedFaultError as error:
            self.outcome.skipped.append((fault, str(error)))
            self._say(f"  left out   {fault.name}: {error}")
            return
        except Exception as error:  # noqa: BLE001  any error is reported, after the reconciliation
            remark = f"{type(error).__name__}: {error}"
        ended = time.monotonic()
        for name in self._ground.stack.list_crashed():
            remark = f"{remark} {name} ended by itself.".strip()
        self._ground.restart_stopped()
        recovered = self._recover(ended)
        struck = FaultReport(fault, ended - began, recovered, remark)
        self.outcome.fault_reports.append(struck)
        took = "never" if recovered is None else f"{recovered:.1f} s"
        mark = "" if struck.is_well else "WRONG"
        self._say(f"  {mark:<6}{took:>8}  {fault.name}, for {struck.duration_seconds:.0f} s  {remark}")

    def finish(self) -> RunReport:
        """End the load, wait until nothing is under way, and settle the account."""
        self._producers.stop()
        self._ill_producers.stop()
        self._wait(self._is_quiet, MAX_RECOVERY_SECONDS)
        with self._ground.connect() as sql:
            # Deliveries are recorded a moment after they arrive.
            self._wait(lambda: not has_pending_deliveries(sql, self._tenant), MAX_RECOVERY_SECONDS)
            account = reconcile(sql, self._tenant, self._producers, self._wells)
            self._wait(lambda: not count_open_claims(sql), MAX_RECOVERY_SECONDS)
            account.add_error(count_open_claims(sql), "claims were still open")
            self.outcome.bad_receiver_outcomes = count_outcomes(sql, self._ill)
            self._settle_replays(account)
        self.outcome.reconciliation = account
        answers = self._producers.stats
        self.outcome.producer_summary = (
            f"{answers.unanswered:,} posts without an answer; refused, and posted again: "
            f"{dict(sorted(answers.refused.items()))}, {answers.with_retry_after:,} of them told when"
        )
        return self.outcome

    def _recover(self, ended: float) -> float | None:
        """How long it took; None if it was given up."""
        before = self._producers.ids

        def is_well() -> bool:
            now = list(self._producers.accepted.values())
            newer = {one.id for one in now if one.at > ended and one.id not in before}
            return bool(newer) and all(
                not well.find_missing(before) and newer - well.find_missing(newer)
                for well in self._wells.values()
            )

        return time.monotonic() - ended if self._wait(is_well, MAX_RECOVERY_SECONDS) else None

    def _is_quiet(self) -> bool:
        ids = self._producers.ids
        return not any(well.find_missing(ids) for well in self._wells.values())

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        try:
            wait_until(condition, "it", seconds=seconds)
        except TimeoutError:
            return False
        return True

    def _subscribe(self, key: Api, host: str | None) -> tuple[str, ReliableReceiver]:
        well = self._exits.enter_context(ReliableReceiver(keep_alive=host is None))
        url = well.url if host is None else f"http://{host}:{well.port}/hooks"
        endpoint = _create_endpoint(key, url, "well")
        well.secret = endpoint["secret"]
        return endpoint["id"], well

    def _prepare_replays(self, operator: Api) -> None:
        _, key = _create_tenant(operator, "Replayed")
        self._again = self._exits.enter_context(ReliableReceiver())
        endpoint = _create_endpoint(key, self._again.url, "replayed")
        self._again.secret = endpoint["secret"]
        self._once = publish_events(key, REPLAYED_EVENTS)
        wait_for_success(key, REPLAYED_EVENTS)
        self._ground.replay_tenant = (key, REPLAYED_EVENTS)

    def _settle_replays(self, account: Reconciliation) -> None:
        wanted = 1 + self._ground.finished_replays
        short = sum(self._again.counts[event] < wanted for event in self._once)
        account.add_error(short, "events came less often than they were replayed")


def _create_tenant(operator: Api, name: str) -> tuple[str, Api]:
    tenant = str(operator.post("/v1/tenants", {"name": name})["id"])
    return tenant, Api(operator.url, operator.post(f"/v1/tenants/{tenant}/keys", {"name": "chaos"})["key"])


def _create_endpoint(key: Api, url: str, description: str) -> Any:
    return key.post("/v1/endpoints", {"url": url, "filter": ["order.*"], "description": description})
