"""The measurements, one module per subject. Each returns values by the key of the figure."""
