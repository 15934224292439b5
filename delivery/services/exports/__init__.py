"""Exports: all deliveries of a selection, or all their attempts, as lines of a file."""

from delivery.exporting.exports import Exports
from delivery.exporting.rows import ATTEMPT_COLUMNS, DELIVERY_COLUMNS, Format

__all__ = ["ATTEMPT_COLUMNS", "DELIVERY_COLUMNS", "Exports", "Format"]
