"""Figures of the whole path on one small machine, beside a naive baseline in the same run."""
