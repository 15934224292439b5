"""The relay: claims due deliveries fairly and publishes the claims."""
