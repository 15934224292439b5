"""Shared by all routes: authentication, problems, cursors, middleware."""
