"""The HTTP destination: configuration, authentication, and the guarded transport."""
