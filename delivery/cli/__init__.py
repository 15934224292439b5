"""The command line: reads arguments, calls use cases and prints what they return."""
