"""Tenants' API keys: created, rotated, revoked and authenticated."""
