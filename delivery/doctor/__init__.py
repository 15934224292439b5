"""The doctor: checks an installation part by part, and says what to fix."""
