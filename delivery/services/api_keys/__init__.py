"""API keys: made, listed, rotated, ended; whose a key is, how often it may ask, and who guesses."""
