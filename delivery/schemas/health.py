"""Whether a process lives, and whether it can serve."""

from delivery.schemas.base import ResponseModel


class HealthOut(ResponseModel):
    """All is well."""

    status: str = "ok"
