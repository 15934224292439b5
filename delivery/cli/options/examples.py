"""Examples below a command's help."""


def format_examples(*lines: str) -> str:
    """Format the examples at the end of a command's help, one per line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
