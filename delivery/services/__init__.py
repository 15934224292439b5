"""The use cases: one module or package for each noun."""
