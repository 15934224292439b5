"""API keys."""

from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from delivery.domain.api_key import ApiKey
from delivery.domain.ids import Prefix, format_id
from delivery.domain.scopes import TENANT_SCOPES, Scope, sort_scopes
from delivery.schemas.base import (
    NextCursor,
    RequestModel,
    ResponseModel,
    TimestampIn,
    TimestampOut,
    example_id,
)
from delivery.services.api_keys.validation import (
    MAX_NAME_LENGTH,
    MAX_REQUESTS_PER_SECOND,
    CreatedApiKey,
    NewApiKey,
)

_TEN_YEARS_SECONDS = 3650 * 24 * 3600


_EXAMPLE: Any = {"name": "order service", "scopes": ["publish"], "expires_in_seconds": 7_776_000}


class KeyIn(RequestModel):
    """A key to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(
        list(TENANT_SCOPES),
        min_length=1,
        max_length=len(Scope),
        description="What it may do: `publish`, `manage`, `read`, `replay`. Not given: all four.",
    )
    expires_at: Annotated[TimestampIn, Field(strict=False)] | None = Field(
        None, description="Until when it works. Null: it does not expire."
    )
    expires_in_seconds: int | None = Field(
        None, ge=60, le=_TEN_YEARS_SECONDS, description="The same, as a time from now; not both."
    )
    requests_per_second: int | None = Field(
        None,
        ge=1,
        le=MAX_REQUESTS_PER_SECOND,
        description="How often it may ask, in each `web` process. Null: as often as the operator says.",
    )

    def to_command(self) -> NewApiKey:
        """As the use case takes it."""
        lasts = self.expires_in_seconds
        return NewApiKey(
            name=self.name,
            scopes=self.scopes,
            expires_at=self.expires_at,
            lifetime=None if lasts is None else timedelta(seconds=lasts),
            requests_per_second=self.requests_per_second,
        )


class KeyRotationIn(RequestModel):
    """How a key is rotated."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_hours": 24}]})

    overlap_hours: float | None = Field(
        None, ge=0, le=720, description="How long the old key goes on. Null: the operator's default."
    )
    reason: str | None = Field(None, description="Why, for people.")


class KeyOut(ResponseModel):
    """A key, without the key itself."""

    id: str = Field(examples=[example_id(Prefix.KEY)])
    name: str = Field(examples=["order service"])
    hint: str = Field(description="How the key begins.", examples=["wbk_Zk3f9Q…"])
    scopes: list[Scope] = Field(description="What it may do.", examples=[["publish"]])
    requests_per_second: int | None = Field(
        description="How often it may ask, in each `web` process. Null: as often as the operator says."
    )
    created_at: TimestampOut
    expires_at: TimestampOut | None = Field(description="Null: it does not expire.")
    revoked_at: TimestampOut | None
    last_used_at: TimestampOut | None = Field(description="True to a minute or so. Null: it was never used.")
    replaced_by: str | None = Field(
        description="The key that took its place when it was rotated.", examples=[example_id(Prefix.KEY)]
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
    """A key that was just made. Keep `key`: it is told this once, and only its hash is stored."""

    key: str = Field(examples=["wbk_Zk3f9QmX0c1V7r2tYb8uHn4sLp6wEa5dKj3gRx9oTfI"])

    @classmethod
    def from_new_key(cls, new_key: CreatedApiKey) -> Self:
        """Show a key that was just made, with the key itself."""
        return cls.from_record(new_key.key, key=new_key.text)


class KeyList(ResponseModel):
    """Keys, newest first, ended ones too."""

    items: list[KeyOut]
    next: NextCursor
