"""Examples below a command's help."""


def format_examples(*lines: str) -> str:
    """The end of a command's help: each line as it is."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
