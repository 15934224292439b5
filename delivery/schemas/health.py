"""Whether a process lives, and whether it can serve."""

from delivery.schemas.base import ResponseModel


class HealthOut(ResponseModel):
    """The process is healthy."""

    status: str = "ok"
