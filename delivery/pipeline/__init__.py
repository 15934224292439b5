"""Accept: from a producer's bytes to an event that is owed to every matching endpoint."""
