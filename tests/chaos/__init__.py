"""Faults against the whole engine: real processes and servers, a steady load, and an account at the end.

`python -m tests.chaos --help` tells how to run it.
"""
