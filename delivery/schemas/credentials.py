"""Credentials that the engine presents to an endpoint: authentication and client certificates."""

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from delivery.schemas.base import ResponseModel

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@with_config(_STRICT)
class BasicAuth(TypedDict):
    """A user name and a password."""

    kind: Literal["basic"]
    user: Annotated[str, Field(description="Visible ASCII without a colon.", examples=["waybill"])]
    password: str


@with_config(_STRICT)
class BearerAuth(TypedDict):
    """A fixed token."""

    kind: Literal["bearer"]
    token: str


@with_config(_STRICT)
class OAuth2Auth(TypedDict):
    """OAuth 2.0 client credentials (RFC 6749, section 4.4): tokens are fetched and cached."""

    kind: Literal["oauth2"]
    token_url: Annotated[str, Field(examples=["https://login.shop.example/token"])]
    client_id: str
    client_secret: str
    scope: NotRequired[str | None]


AuthField = Annotated[
    Annotated[BasicAuth | BearerAuth | OAuth2Auth, Field(discriminator="kind")] | None,
    Field(
        description="The `Authorization` header sent with each request, in addition to the signature. "
        "Null: none. Secrets are never shown again.",
        examples=[{"kind": "basic", "user": "waybill", "password": "s3cret"}],
    ),
]


@with_config(_STRICT)
class ClientCertificateIn(TypedDict):
    """A client certificate for mutual TLS (RFC 8446, section 4.4.2)."""

    certificate: Annotated[str, Field(description="PEM: the client's certificate first, then its chain.")]
    private_key: Annotated[str, Field(description="PEM, not encrypted: RSA, elliptic curve or ed25519.")]


ClientCertificateField = Annotated[
    ClientCertificateIn | None,
    Field(
        description="Presented in the TLS handshake; https only. Null: none. The key is encrypted at rest, "
        "and never shown again."
    ),
]


class ClientCertificateOut(ResponseModel):
    """The public facts of a client certificate."""

    subject: str = Field(examples=["CN=waybill"])
    issuer: str = Field(examples=["CN=Shop Root"])
    serial_number: str = Field(description="Hexadecimal.")
    sha256: str = Field(description="Fingerprint: hexadecimal SHA-256 of the DER certificate.")
    not_before: str = Field(examples=["2026-11-22T18:27:00.000Z"])
    not_after: str = Field(examples=["2027-11-22T18:27:00.000Z"])
