"""How the engine shows an endpoint who it is, as it is sent and shown: authentication and certificates."""

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
    """A token that does not change by itself."""

    kind: Literal["bearer"]
    token: str


@with_config(_STRICT)
class OAuth2Auth(TypedDict):
    """Client credentials (RFC 6749, section 4.4): a token server is asked for tokens, and they are kept."""

    kind: Literal["oauth2"]
    token_url: Annotated[str, Field(examples=["https://login.shop.example/token"])]
    client_id: str
    client_secret: str
    scope: NotRequired[str | None]


AuthField = Annotated[
    Annotated[BasicAuth | BearerAuth | OAuth2Auth, Field(discriminator="kind")] | None,
    Field(
        description="How the engine shows the endpoint who it is, beside the signature, in `Authorization`. "
        "Null: not at all. Of secrets nothing is shown again.",
        examples=[{"kind": "basic", "user": "waybill", "password": "s3cret"}],
    ),
]


@with_config(_STRICT)
class ClientCertificateIn(TypedDict):
    """What is shown to an endpoint that wants to know its clients (mutual TLS; RFC 8446, 4.4.2)."""

    certificate: Annotated[
        str, Field(description="PEM: its own certificate first, then those that lead to its authority.")
    ]
    private_key: Annotated[str, Field(description="PEM, not encrypted: RSA, elliptic curve or ed25519.")]


ClientCertificateField = Annotated[
    ClientCertificateIn | None,
    Field(
        description="Shown to the endpoint in the TLS handshake; https only. Null: none. The key is sealed, "
        "and not shown again."
    ),
]


class ClientCertificateOut(ResponseModel):
    """What may be seen of a client certificate: the first of its chain."""

    subject: str = Field(examples=["CN=waybill"])
    issuer: str = Field(examples=["CN=Shop Root"])
    serial_number: str = Field(description="Hexadecimal.")
    sha256: str = Field(description="The fingerprint: hexadecimal SHA-256 of the certificate as DER.")
    not_before: str = Field(examples=["2026-11-22T18:27:00.000Z"])
    not_after: str = Field(examples=["2027-11-22T18:27:00.000Z"])
