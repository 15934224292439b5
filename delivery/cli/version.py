"""The release's version, without importing the release."""


def print_version() -> None:
    """Print the release's version."""
    from importlib.metadata import version  # slow to load, and only needed here

    print(f"waybill {version('waybill-engine')}")
