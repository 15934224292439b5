"""The use cases: one package or module for each noun."""
