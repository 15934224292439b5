"""One run: a steady load, one fault after the other in an order of the seed's, and the account at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.chaos.account import Account, left_open, outcomes_of, owes, settle
from tests.chaos.fault import NotHereError
from tests.chaos.load import Producers
from tests.chaos.receivers import Well, unwell
from tests.support.api import Api
from tests.support.scene import publish, wait_for_success
from tests.support.stack import OPERATOR_KEY, wait_until

if TYPE_CHECKING:
    from random import Random

    from tests.chaos.fault import Fault
    from tests.chaos.flood import Flooded
    from tests.chaos.ground import Ground

PER_SECOND = 20.0
ENDPOINTS = 2
NAMED = "well.chaos.test"
REPLAYED = 60
# Nothing may take longer than that to be whole again; what does is stuck.
GIVEN_UP = 90.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Struck:
    """What came of a fault: how long it lasted, and after how long everything was well again."""

    fault: Fault
    lasted: float = 0.0
    recovered: float | None = None
    remark: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it happened, and was over in time."""
        return self.recovered is not None and self.recovered <= self.fault.within and not self.remark


@dataclass(slots=True)
class Outcome:
    """What came of a run."""

    seed: int
    struck: list[Struck] = field(default_factory=list)
    left_out: list[tuple[Fault, str]] = field(default_factory=list)
    account: Account = field(default_factory=Account)
    unwell: Sequence[tuple[str, str, int]] = ()
    answers: str = ""
    flooded: Flooded | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        flooded = self.flooded is None or not self.flooded.faults
        struck = bool(self.struck) and all(one.is_well for one in self.struck)
        return flooded and struck and not self.account.faults

    def line(self) -> dict[str, Any]:
        """Everything in one line."""
        return {
            "seed": self.seed,
            "faults": len(self.struck),
            "accepted": self.account.accepted,
            "delivered": self.account.delivered,
            "lost": self.account.lost,
            "duplicates": self.account.duplicates,
            "stuck": self.account.stuck,
            "max_recovery_s": max((round(one.recovered or GIVEN_UP, 1) for one in self.struck), default=None),
        }


class Run:
    """The load and those who receive it, around faults that are struck one by one."""

    def __init__(self, ground: Ground, *, seed: int, say: Say) -> None:
        """Nothing runs yet."""
        self._ground = ground
        self._seed = seed
        self._say = say
        self._exits = ExitStack()
        self.outcome = Outcome(seed)

    def __enter__(self) -> Self:
        urls = self._exits.enter_context(unwell(self._ground.folder / "authority.pem"))
        self._ground.trust(self._ground.folder / "authority.pem")
        self._exits.enter_context(self._ground)
        self.operator = operator = Api(f"http://127.0.0.1:{self._ground.ports['web']}", OPERATOR_KEY)
        self._tenant, key = _tenant(operator, "Well")
        hosts = [None] * ENDPOINTS if self._ground.names is None else [*[None] * ENDPOINTS, NAMED]
        self._wells = dict(self._subscribe(key, host) for host in hosts)
        ports = list(self._ground.ports.values())
        self._producers = Producers(ports, key.key, seed=self._seed, per_second=PER_SECOND)
        self._exits.enter_context(self._producers)
        self._ill, ill = _tenant(operator, "Unwell")
        for name, url in urls.items():
            _endpoint(ill, url, name)
        self._ill_producers = Producers(
            ports, ill.key, seed=self._seed + 1, per_second=0.5, type_="order.created"
        )
        self._exits.enter_context(self._ill_producers)
        self._prepare_replays(operator)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def strike(self, fault: Fault, rng: Random) -> None:
        """Have one fault, and wait until all that was accepted before its end has arrived, and newer too."""
        began = time.monotonic()
        try:
            fault.strike(self._ground, rng)
            remark = ""
        except NotHereError as error:
            self.outcome.left_out.append((fault, str(error)))
            self._say(f"  left out   {fault.name}: {error}")
            return
        except Exception as error:  # noqa: BLE001  whatever it was, the account is settled, and it is told
            remark = f"{type(error).__name__}: {error}"
        ended = time.monotonic()
        for name in self._ground.stack.ended():
            remark = f"{remark} {name} ended by itself.".strip()
        self._ground.revive()
        recovered = self._recover(ended)
        struck = Struck(fault, ended - began, recovered, remark)
        self.outcome.struck.append(struck)
        took = "never" if recovered is None else f"{recovered:.1f} s"
        mark = "" if struck.is_well else "WRONG"
        self._say(f"  {mark:<6}{took:>8}  {fault.name}, for {struck.lasted:.0f} s  {remark}")

    def finish(self) -> Outcome:
        """End the load, wait until nothing is under way, and settle the account."""
        self._producers.stop()
        self._ill_producers.stop()
        self._wait(self._is_quiet, GIVEN_UP)
        with self._ground.sql() as sql:
            # What has arrived is recorded a moment later.
            self._wait(lambda: not owes(sql, self._tenant), GIVEN_UP)
            account = settle(sql, self._tenant, self._producers, self._wells)
            self._wait(lambda: not left_open(sql), GIVEN_UP)
            account.wrong(left_open(sql), "claims were still open")
            self.outcome.unwell = outcomes_of(sql, self._ill)
            self._settle_replays(account)
        self.outcome.account = account
        answers = self._producers.answers
        self.outcome.answers = (
            f"{answers.without:,} posts without an answer; refused, and posted again: "
            f"{dict(sorted(answers.refused.items()))}, {answers.told_when:,} of them told when"
        )
        return self.outcome

    def _recover(self, ended: float) -> float | None:
        """How long it took; None if it was given up."""
        before = self._producers.ids

        def is_well() -> bool:
            now = list(self._producers.accepted.values())
            newer = {one.id for one in now if one.at > ended and one.id not in before}
            return bool(newer) and all(
                not well.lacks(before) and newer - well.lacks(newer) for well in self._wells.values()
            )

        return time.monotonic() - ended if self._wait(is_well, GIVEN_UP) else None

    def _is_quiet(self) -> bool:
        ids = self._producers.ids
        return not any(well.lacks(ids) for well in self._wells.values())

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        try:
            wait_until(condition, "it", seconds=seconds)
        except TimeoutError:
            return False
        return True

    def _subscribe(self, key: Api, host: str | None) -> tuple[str, Well]:
        well = self._exits.enter_context(Well(keeps=host is None))
        url = well.url if host is None else f"http://{host}:{well.port}/hooks"
        endpoint = _endpoint(key, url, "well")
        well.secret = endpoint["secret"]
        return endpoint["id"], well

    def _prepare_replays(self, operator: Api) -> None:
        _, key = _tenant(operator, "Replayed")
        self._again = self._exits.enter_context(Well())
        endpoint = _endpoint(key, self._again.url, "replayed")
        self._again.secret = endpoint["secret"]
        self._once = publish(key, REPLAYED)
        wait_for_success(key, REPLAYED)
        self._ground.replayed = (key, REPLAYED)

    def _settle_replays(self, account: Account) -> None:
        wanted = 1 + self._ground.replays_done
        short = sum(self._again.times[event] < wanted for event in self._once)
        account.wrong(short, "events came less often than they were replayed")


def _tenant(operator: Api, name: str) -> tuple[str, Api]:
    tenant = str(operator.post("/v1/tenants", {"name": name})["id"])
    return tenant, Api(operator.url, operator.post(f"/v1/tenants/{tenant}/keys", {"name": "chaos"})["key"])


def _endpoint(key: Api, url: str, description: str) -> Any:
    return key.post("/v1/endpoints", {"url": url, "filter": ["order.*"], "description": description})
