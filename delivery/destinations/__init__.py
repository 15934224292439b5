"""Destinations of events: the SSRF guard, name lookups, and one package for each kind of destination."""
