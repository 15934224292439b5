"""How far the secrets at rest are under the newest key."""

from typing import Self

from pydantic import Field

from delivery.schemas.base import ResponseModel
from delivery.services.key_rotation import KeyRotationReport


class KeyUsageOut(ResponseModel):
    """How many values one key encrypts."""

    key_id: str
    at_hand: bool = Field(description="Whether WAYBILL_SECRET_KEYS holds this key.")
    newest: bool
    values: int


class KeyRotationOut(ResponseModel):
    """What a rotation changed, and what still needs an older key."""

    resealed: int
    changed_meanwhile: int
    unreadable: int = Field(description="No available key opens these.")
    left: int
    keys: list[KeyUsageOut]

    @classmethod
    def from_record(cls, report: KeyRotationReport) -> Self:
        """Show a report."""
        return cls(
            resealed=report.rotated,
            changed_meanwhile=report.changed,
            unreadable=report.unreadable,
            left=report.remaining,
            keys=[
                KeyUsageOut(
                    key_id=usage.key_id,
                    at_hand=usage.is_available,
                    newest=usage is report.key_usage[0],
                    values=usage.value_count,
                )
                for usage in report.key_usage
            ],
        )
