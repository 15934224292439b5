"""The engine between its doors and its adapters: use cases, ledger, transport."""
