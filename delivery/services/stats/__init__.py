"""Statistics: attempts over time, and the present state."""
