"""Exports: all deliveries of a selection, or all their attempts, as lines of a file."""
