"""What events are sent to: the guard, name lookups, and one package for each kind of destination."""
