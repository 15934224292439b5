"""Finding and counting rows within a bound."""
