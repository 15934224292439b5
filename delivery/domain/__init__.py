"""The nouns and pure rules of the engine: no I/O, no clock, no randomness but in `ids` and `secret_box`."""
