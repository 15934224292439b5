"""What all routes share: authentication, problems, cursors, middleware."""
