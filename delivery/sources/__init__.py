"""Sources: places where others' events come in, such as a broker's queue."""
