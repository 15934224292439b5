"""The processes between ledger and queue: the relay that claims, the workers that deliver."""
