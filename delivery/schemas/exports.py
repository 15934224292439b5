"""Exports that were written to a file."""

from delivery.schemas.base import ResponseModel


class ExportedFileOut(ResponseModel):
    """Where the rows are, and how many."""

    file: str
    rows: int
