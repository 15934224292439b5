"""The hot path: enqueue, claim, record, endpoint health."""
