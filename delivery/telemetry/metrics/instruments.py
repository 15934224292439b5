"""Every metric that the engine's processes keep. Labels are closed sets, and all of them stand at 0 at first.

What is told of one tenant or one endpoint comes from the ledger, and is no label here.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from retries.breaker import BreakerState
from retries.outcome import NAMES

LANES: Final = ("live", "replay")
OUTCOMES: Final = tuple(sorted(NAMES))
ENDS: Final = ("succeeded", "failed", "expired", "cancelled")
PHASES: Final = ("accept", "claim", "publish", "start", "send", "record")
COMMITS: Final = ("accept", "record")
HOLDS: Final = ("paused", "disabled", "breaker")
# That one is half open is the claim of a probe, and counted nowhere.
TURNS: Final = (str(BreakerState.CLOSED), str(BreakerState.OPEN))
REPLAYED: Final = ("succeeded", "failed")
PARTS: Final = ("database", "broker")
EXPIRIES: Final = ("api_key", "client_certificate")

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30)
# From a success at once to one by the last steps of a schedule.
_LONG: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1_800, 7_200, 43_200, 259_200)
_ROWS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500)

# As many lines again, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

# ---- counted where it happens
accepted: Final = Counter("waybill_events_accepted", "Events that were accepted, after the commit.")
owed: Final = Counter("waybill_deliveries_owed", "Deliveries that accepted events made.")
claimed: Final = Counter("waybill_deliveries_claimed", "Deliveries that a relay claimed.", ["lane"])
published: Final = Counter("waybill_claims_published", "Claims that RabbitMQ confirmed.", ["lane"])
attempts: Final = Counter(
    "waybill_attempts", "Attempts that were recorded, by what came of them.", ["outcome"]
)
ended: Final = Counter("waybill_deliveries_ended", "Deliveries that came to an end, by which.", ["status"])
breakers: Final = Counter(
    "waybill_breaker_transitions", "Circuit breakers that went into a state, by which.", ["to"]
)
rescued: Final = Counter(
    "waybill_deliveries_rescued", "Deliveries taken back from claims whose lease had lapsed."
)
replayed: Final = Counter("waybill_replay_items", "Deliveries of replays that ended, by how.", ["result"])
refused: Final = Counter("waybill_messages_refused", "Messages over RabbitMQ that were set aside.")
phases: Final = Histogram(
    "waybill_phase_seconds",
    "How long a step takes: accept, claim, publish, start and record of a group, send of an attempt.",
    ["phase"],
    buckets=_SECONDS,
)
until_success: Final = Histogram(
    "waybill_delivery_seconds",
    "From accepted to success recorded, of live deliveries; retries and holds are in it.",
    buckets=_LONG,
)
commits: Final = Histogram(
    "waybill_commit_rows", "Events, or results, that share a transaction.", ["what"], buckets=_ROWS
)

# ---- how it stands, by each process
in_flight: Final = Gauge(
    "waybill_requests_in_flight", "Requests on their way to receivers.", multiprocess_mode="livesum"
)
pool: Final = Gauge(
    "waybill_pool_connections",
    "Connections of the pool to PostgreSQL.",
    ["state"],
    multiprocess_mode="livesum",
)
# ---- how it stands, by a relay
window: Final = Gauge("waybill_window_deliveries", "Claimed deliveries that no worker has started.", ["lane"])
window_limit: Final = Gauge(
    "waybill_window_limit", "How many deliveries this relay lets stand in the queue.", ["lane"]
)
oldest: Final = Gauge(
    "waybill_oldest_due_seconds",
    "For how long the oldest delivery has been due that nothing holds; 0: none is.",
    ["lane"],
)
held: Final = Gauge(
    "waybill_held_deliveries", "Deliveries of endpoints that are held, by what; counted up to 50,000.", ["by"]
)
up: Final = Gauge("waybill_dependency_up", "1: it answered the relay when last asked; 0: it did not.", ["on"])
looked: Final = Gauge(
    "waybill_relay_looked_timestamp_seconds", "When the relay last went once around; Unix time."
)
partitions: Final = Gauge(
    "waybill_partitions_ahead_days", "Days after today for which every table of history has a partition."
)
expiry: Final = Gauge(
    "waybill_next_expiry_timestamp_seconds",
    "When the next one ends that is in use, within a year; Unix time, 0: none does.",
    ["what"],
)

LABELS: Final = (
    (claimed, LANES), (published, LANES), (attempts, OUTCOMES), (ended, ENDS),
    (breakers, TURNS), (replayed, REPLAYED), (phases, PHASES),
    (commits, COMMITS), (pool, ("used", "idle")), (window, LANES), (window_limit, LANES), (oldest, LANES),
    (held, HOLDS), (up, PARTS), (expiry, EXPIRIES),
)  # fmt: skip
for _metric, _values in LABELS:
    for _value in _values:
        _metric.labels(_value)
OF_RELAY: Final = (window, window_limit, oldest, held, up, looked, partitions, expiry)
ALL: Final = (
    accepted, owed, claimed, published, attempts, ended, breakers, rescued, replayed, refused, phases,
    until_success, commits, in_flight, pool, *OF_RELAY,
)  # fmt: skip
