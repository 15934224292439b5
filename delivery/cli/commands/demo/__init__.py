"""The demo: an engine of its own, three receivers with different manners, and a few hundred events."""
