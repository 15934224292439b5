"""The HTTP API: a thin door. It reads requests, calls use cases and shows what they return."""
