"""Runs the guide's Python: driver.py KEY ID TIMESTAMP SIGNATURES <body."""

import sys

from snippet import Refused, verify  # type: ignore[import-not-found]  # written beside it by the test

key, *values = sys.argv[1:]
names = ("webhook-id", "webhook-timestamp", "webhook-signature")
try:
    verify(dict(zip(names, values, strict=True)), sys.stdin.buffer.read(), key)
except Refused as error:
    sys.stdout.write(f"{error}\n")
    sys.exit(1)
