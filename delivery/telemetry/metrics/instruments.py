"""Every metric of the engine's processes. Labels are closed sets, and all of them start at 0.

Statistics of single tenants and endpoints come from the ledger; they are no labels here.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from retries.breaker import BreakerState
from retries.outcome import OUTCOME_NAMES

PRIORITIES: Final = ("live", "replay")
OUTCOMES: Final = tuple(sorted(OUTCOME_NAMES))
FINAL_STATUSES: Final = ("succeeded", "failed", "expired", "cancelled")
PHASES: Final = ("accept", "claim", "publish", "start", "send", "record")
COMMIT_KINDS: Final = ("accept", "record")
HOLDS: Final = ("paused", "disabled", "breaker")
# A half-open breaker is a claimed probe, which is not counted.
BREAKER_STATES: Final = (str(BreakerState.CLOSED), str(BreakerState.OPEN))
REPLAY_RESULTS: Final = ("succeeded", "failed")
DEPENDENCIES: Final = ("database", "broker")
EXPIRIES: Final = ("api_key", "client_certificate")

_PHASE_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30)
# From an immediate success to one in the last steps of a schedule.
_DELIVERY_BUCKETS: Final = (
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    15,
    60,
    300,
    1_800,
    7_200,
    43_200,
    259_200,
)
_COMMIT_BUCKETS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500)

# `_created` series would double the output.
disable_created_metrics()  # type: ignore[no-untyped-call]

# ---- counters, in every process
events_accepted: Final = Counter("waybill_events_accepted", "Accepted events, counted after the commit.")
deliveries_owed: Final = Counter("waybill_deliveries_owed", "Deliveries created by accepted events.")
deliveries_claimed: Final = Counter("waybill_deliveries_claimed", "Deliveries claimed by a relay.", ["lane"])
claims_published: Final = Counter("waybill_claims_published", "Claims confirmed by RabbitMQ.", ["lane"])
attempts_recorded: Final = Counter("waybill_attempts", "Recorded attempts, by outcome.", ["outcome"])
deliveries_ended: Final = Counter("waybill_deliveries_ended", "Finished deliveries, by status.", ["status"])
breaker_transitions: Final = Counter(
    "waybill_breaker_transitions", "Circuit breakers that changed to a state.", ["to"]
)
deliveries_rescued: Final = Counter(
    "waybill_deliveries_rescued", "Deliveries taken back from claims with an expired lease."
)
replay_items: Final = Counter(
    "waybill_replay_items", "Finished deliveries of replays, by result.", ["result"]
)
messages_refused: Final = Counter(
    "waybill_messages_refused", "Messages over RabbitMQ that became dead letters."
)
phase_seconds: Final = Histogram(
    "waybill_phase_seconds",
    "Duration of a step: accept, claim, publish, start and record per group, send per attempt.",
    ["phase"],
    buckets=_PHASE_BUCKETS,
)
delivery_seconds: Final = Histogram(
    "waybill_delivery_seconds",
    "From accepted to recorded success, live deliveries only; includes retries and holds.",
    buckets=_DELIVERY_BUCKETS,
)
commit_rows: Final = Histogram(
    "waybill_commit_rows", "Events or results per transaction.", ["what"], buckets=_COMMIT_BUCKETS
)

# ---- gauges of every process
requests_in_flight: Final = Gauge(
    "waybill_requests_in_flight", "Requests in flight to receivers.", multiprocess_mode="livesum"
)
pool_connections: Final = Gauge(
    "waybill_pool_connections",
    "Connections of the PostgreSQL pool.",
    ["state"],
    multiprocess_mode="livesum",
)
# ---- gauges of a relay
window_deliveries: Final = Gauge(
    "waybill_window_deliveries", "Claimed deliveries that no worker has started yet.", ["lane"]
)
window_limit: Final = Gauge(
    "waybill_window_limit", "The most deliveries that this relay keeps in the queue.", ["lane"]
)
oldest_due_seconds: Final = Gauge(
    "waybill_oldest_due_seconds",
    "How long the oldest due delivery that is not held has waited; 0: none is due.",
    ["lane"],
)
held_deliveries: Final = Gauge(
    "waybill_held_deliveries", "Held deliveries, by reason; counted up to 50,000.", ["by"]
)
dependency_up: Final = Gauge(
    "waybill_dependency_up", "1: it answered the relay's last request; 0: it did not.", ["on"]
)
relay_looked_timestamp: Final = Gauge(
    "waybill_relay_looked_timestamp_seconds", "When the relay last completed a round; Unix time."
)
partitions_ahead_days: Final = Gauge(
    "waybill_partitions_ahead_days", "Days after today for which every history table has a partition."
)
next_expiry_timestamp: Final = Gauge(
    "waybill_next_expiry_timestamp_seconds",
    "When the next one in use expires, within a year; Unix time; 0: none.",
    ["what"],
)

LABEL_VALUES: Final = (
    (deliveries_claimed, PRIORITIES), (claims_published, PRIORITIES), (attempts_recorded, OUTCOMES),
    (deliveries_ended, FINAL_STATUSES), (breaker_transitions, BREAKER_STATES),
    (replay_items, REPLAY_RESULTS), (phase_seconds, PHASES), (commit_rows, COMMIT_KINDS),
    (pool_connections, ("used", "idle")), (window_deliveries, PRIORITIES), (window_limit, PRIORITIES),
    (oldest_due_seconds, PRIORITIES), (held_deliveries, HOLDS), (dependency_up, DEPENDENCIES),
    (next_expiry_timestamp, EXPIRIES),
)  # fmt: skip
for _metric, _values in LABEL_VALUES:
    for _value in _values:
        _metric.labels(_value)
RELAY_METRICS: Final = (
    window_deliveries,
    window_limit,
    oldest_due_seconds,
    held_deliveries,
    dependency_up,
    relay_looked_timestamp,
    partitions_ahead_days,
    next_expiry_timestamp,
)
ALL_METRICS: Final = (
    events_accepted, deliveries_owed, deliveries_claimed, claims_published, attempts_recorded,
    deliveries_ended, breaker_transitions, deliveries_rescued, replay_items, messages_refused,
    phase_seconds, delivery_seconds, commit_rows, requests_in_flight, pool_connections, *RELAY_METRICS,
)  # fmt: skip
