"""demo"""


def run() -> None:
    """Demo."""
