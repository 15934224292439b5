"""The measurements, a module for each subject. Each returns what it found, by the key of the figure."""
