"""The consumer of events that arrive over RabbitMQ."""
