"""Which release this is, told without loading any of it."""


def print_version() -> None:
    """Print the release's version."""
    from importlib.metadata import version  # noqa: PLC0415  slow to load, and only needed here

    print(f"waybill {version('waybill-engine')}")
