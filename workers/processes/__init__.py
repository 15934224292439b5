"""The processes of the Procfile, and the embedded engine."""
