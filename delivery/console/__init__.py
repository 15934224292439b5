"""The console: pages where people find, understand and replay. A door, as the API is, to the use cases."""
