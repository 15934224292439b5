"""Figures: how deliveries went over time, and what is so now."""
