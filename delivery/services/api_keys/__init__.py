"""API keys: made, listed, rotated, ended; whose a key is, how often it may ask, and who guesses."""

from delivery.keys.buckets import Bucket, Pace
from delivery.keys.keys import Keys
from delivery.keys.limits import Standing
from delivery.keys.terms import LONGEST_NAME, MOST_REQUESTS, KeyTerms, MadeKey, NewKey

__all__ = [
    "LONGEST_NAME",
    "MOST_REQUESTS",
    "Bucket",
    "KeyTerms",
    "Keys",
    "MadeKey",
    "NewKey",
    "Pace",
    "Standing",
]
