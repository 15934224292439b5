"""When to try again, and what an endpoint may be sent: outcomes, schedules, policy, health.

Pure: no I/O, no clock, no randomness.
"""
