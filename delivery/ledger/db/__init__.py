"""Connections, transactions, tables and row-level security."""
