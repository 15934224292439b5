"""How results are printed: tables, details, JSON."""
