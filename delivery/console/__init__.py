"""The web console: find, understand and replay deliveries, and manage endpoints, tenants and users."""
