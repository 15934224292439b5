"""Which release this is, told without loading any of it."""

from importlib.metadata import version


def print_version() -> None:
    """Print the release's version."""
    print(f"waybill {version('waybill-engine')}")
