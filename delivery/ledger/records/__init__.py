"""One module for each table's rows."""
