"""The errors of reading and writing an outbox."""


class OutboxError(Exception):
    """Base of the errors of an outbox."""


class OutboxUnavailable(OutboxError):
    """The application's database does not answer; a later try may succeed."""


class OutboxMisconfigured(OutboxError):
    """The database address is invalid, or the database has no such table."""
