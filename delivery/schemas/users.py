"""Users of the console."""

from typing import Any, Self

from delivery.domain.accounts import User
from delivery.domain.ids import Prefix, format_id
from delivery.schemas.base import ResponseModel, TimestampOut


class UserOut(ResponseModel):
    """A user of the console."""

    id: str
    email: str
    name: str
    role: str
    has_password: bool
    created_at: TimestampOut
    disabled_at: TimestampOut | None

    @classmethod
    def from_record(cls, user: User, /, **more: Any) -> Self:
        """Show a user."""
        return cls(
            id=format_id(Prefix.USER, user.id),
            email=user.email,
            name=user.name,
            role=user.role,
            has_password=user.has_password,
            created_at=user.created_at,
            disabled_at=user.disabled_at,
            **more,
        )


class NewPasswordOut(UserOut):
    """A user whose password was just generated. It is shown this once; only its hash is stored."""

    password: str
