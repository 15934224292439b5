"""Building blocks of the JSON shapes: models, timestamps, ids, pages."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from delivery.domain.durations import format_rfc3339
from delivery.domain.ids import Prefix, format_id

TENANT_HEADER = "Waybill-Tenant"
API_KEY_SCHEME = "ApiKey"


class RequestModel(BaseModel):
    """A request body: strict types, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ResponseModel(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True)


# ------------------------------------------------------------------ timestamps and durations
TimestampOut = Annotated[
    datetime,
    PlainSerializer(format_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-22T18:27:00.123Z"]}),
]

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
TimestampIn = Annotated[AwareDatetime, Field(ge=_EARLIEST)]


def to_json_seconds(duration: timedelta) -> int | float:
    """Convert to seconds, without a needless fraction: 5, not 5.0."""
    seconds = duration.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


# ------------------------------------------------------------------ ids
def example_id(prefix: Prefix) -> str:
    """An example id for the documentation."""
    return format_id(prefix, UUID("019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071"))


# ------------------------------------------------------------------ pages
NextCursor = Annotated[
    str | None, Field(description="Pass it as `cursor` for the next page. Null: this was the last.")
]
