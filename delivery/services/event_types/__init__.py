"""The catalogue of event types: what events are called, what they hold, and how they change over time."""
