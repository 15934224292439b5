"""API keys."""

from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from delivery.domain.api_key import ApiKey
from delivery.domain.ids import Prefix, format_id
from delivery.domain.scopes import TENANT_SCOPES, Scope, sort_scopes
from delivery.domain.validation import MAX_NAME_LENGTH
from delivery.schemas.base import (
    NextCursor,
    RequestModel,
    ResponseModel,
    TimestampIn,
    TimestampOut,
    example_id,
)
from delivery.services.api_keys.validation import (
    MAX_REQUESTS_PER_SECOND,
    CreatedApiKey,
    NewApiKey,
)

_TEN_YEARS_SECONDS = 3650 * 24 * 3600


_EXAMPLE: Any = {"name": "order service", "scopes": ["publish"], "expires_in_seconds": 7_776_000}


class KeyIn(RequestModel):
    """A key to create."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(
        list(TENANT_SCOPES),
        min_length=1,
        max_length=len(Scope),
        description="Its permissions: `publish`, `manage`, `read`, `replay`. Default: all four.",
    )
    expires_at: Annotated[TimestampIn, Field(strict=False)] | None = Field(
        None, description="When it expires. Null: never."
    )
    expires_in_seconds: int | None = Field(
        None,
        ge=60,
        le=_TEN_YEARS_SECONDS,
        description="Instead of `expires_at`: its lifetime in seconds from now.",
    )
    requests_per_second: int | None = Field(
        None,
        ge=1,
        le=MAX_REQUESTS_PER_SECOND,
        description="Maximum requests per second in each `web` process. Null: the operator's default.",
    )

    def to_command(self) -> NewApiKey:
        """Convert to the use case's input."""
        lifetime = self.expires_in_seconds
        return NewApiKey(
            name=self.name,
            scopes=self.scopes,
            expires_at=self.expires_at,
            lifetime=None if lifetime is None else timedelta(seconds=lifetime),
            requests_per_second=self.requests_per_second,
        )


class KeyRotationIn(RequestModel):
    """Options for rotating a key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_hours": 24}]})

    overlap_hours: float | None = Field(
        None, ge=0, le=720, description="How long the old key stays valid. Null: the operator's default."
    )
    reason: str | None = Field(None, description="The reason, for the audit log.")


class KeyOut(ResponseModel):
    """A key, without the key itself."""

    id: str = Field(examples=[example_id(Prefix.KEY)])
    name: str = Field(examples=["order service"])
    hint: str = Field(description="The first characters of the key.", examples=["wbk_Zk3f9Q…"])
    scopes: list[Scope] = Field(description="Its permissions.", examples=[["publish"]])
    requests_per_second: int | None = Field(
        description="Maximum requests per second in each `web` process. Null: the operator's default."
    )
    created_at: TimestampOut
    expires_at: TimestampOut | None = Field(description="Null: it never expires.")
    revoked_at: TimestampOut | None
    last_used_at: TimestampOut | None = Field(description="Accurate to about a minute. Null: never used.")
    replaced_by: str | None = Field(
        description="The key that replaced it at a rotation.", examples=[example_id(Prefix.KEY)]
    )

    @classmethod
    def from_record(cls, key: ApiKey, /, **more: str) -> Self:
        """Show a key."""
        return cls(
            id=format_id(Prefix.KEY, key.id),
            name=key.name,
            hint=key.hint,
            scopes=sort_scopes(key.scopes),
            requests_per_second=key.requests_per_second,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
            replaced_by=None if key.replaced_by is None else format_id(Prefix.KEY, key.replaced_by),
            **more,
        )


class NewKeyOut(KeyOut):
    """A key that was just created. Keep `key`: it is shown only once, since only its hash is stored."""

    key: str = Field(examples=["wbk_Zk3f9QmX0c1V7r2tYb8uHn4sLp6wEa5dKj3gRx9oTfI"])

    @classmethod
    def from_new_key(cls, new_key: CreatedApiKey) -> Self:
        """Show a new key, with the key itself."""
        return cls.from_record(new_key.key, key=new_key.text)


class KeyList(ResponseModel):
    """Keys, newest first, including revoked and expired ones."""

    items: list[KeyOut]
    next: NextCursor
