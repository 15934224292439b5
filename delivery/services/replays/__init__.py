"""Replay jobs: many deliveries sent again, beside live traffic and behind it."""

from delivery.replay.advancing import Advancer
from delivery.replay.replays import Replays
from delivery.replay.terms import NewReplay, Preview, recovery

__all__ = ["Advancer", "NewReplay", "Preview", "Replays", "recovery"]
