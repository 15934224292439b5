"""RabbitMQ: queues, publishing, checks."""
