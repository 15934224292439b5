"""Replay jobs: many deliveries sent again, beside live traffic and behind it."""
