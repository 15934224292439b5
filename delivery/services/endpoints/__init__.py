"""Endpoints: where a tenant's events go, under which secrets and limits, and how they do."""
