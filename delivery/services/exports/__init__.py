"""Exports: all deliveries that match a filter, or their attempts, as lines of a file."""
