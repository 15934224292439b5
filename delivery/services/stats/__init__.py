"""Figures: how deliveries went over time, and what is so now."""

from delivery.figures.figures import DUE_EACH, Figures
from delivery.figures.rolling import Rolling
from delivery.figures.spans import Point, Series, Span

__all__ = ["DUE_EACH", "Figures", "Point", "Rolling", "Series", "Span"]
