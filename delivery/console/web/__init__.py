"""Request context, middleware, rendering and assets."""
