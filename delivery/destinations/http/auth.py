"""Credentials that the engine sends to an endpoint, beside the signature: a closed set. Pure.

`redact_credentials` gives what may be shown; the rest is secret, and stored only encrypted.
"""

from __future__ import annotations

import base64
from typing import Annotated, Final, assert_never

import msgspec
from msgspec import Meta, Struct

MAX_SECRET_CHARS: Final = 4_096
MAX_NAME_CHARS: Final = 256
# Visible ASCII: it may stand in a header, or be encoded into one, and reads the same at the other end.
_Secret = Annotated[str, Meta(pattern=r"^[!-~](?:[ -~]*[!-~])?\Z", max_length=MAX_SECRET_CHARS)]
_Name = Annotated[str, Meta(pattern=r"^[!-9;-~](?:[ -9;-~]*[!-9;-~])?\Z", max_length=MAX_NAME_CHARS)]
_Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~+/-]+=*\Z", max_length=MAX_SECRET_CHARS)]
_Scope = Annotated[str, Meta(pattern=r"^[!#-\[\]-~]+(?: [!#-\[\]-~]+)*\Z", max_length=1_024)]


class Basic(Struct, frozen=True, tag_field="kind", tag="basic", forbid_unknown_fields=True):
    """A user name and a password (RFC 7617)."""

    user: _Name
    password: _Secret


class Bearer(Struct, frozen=True, tag_field="kind", tag="bearer", forbid_unknown_fields=True):
    """A fixed bearer token (RFC 6750)."""

    token: _Token


class OAuth2(Struct, frozen=True, tag_field="kind", tag="oauth2", forbid_unknown_fields=True):
    """Client credentials, exchanged for tokens at a token server (RFC 6749, section 4.4)."""

    token_url: str
    client_id: _Name
    client_secret: _Secret
    scope: _Scope | None = None


Credentials = Basic | Bearer | OAuth2
_FIELD_ERRORS: Final = {
    "user": f"must be 1 to {MAX_NAME_CHARS} visible ASCII characters without a colon",
    "client_id": f"must be 1 to {MAX_NAME_CHARS} visible ASCII characters without a colon",
    "password": f"must be 1 to {MAX_SECRET_CHARS} visible ASCII characters",
    "client_secret": f"must be 1 to {MAX_SECRET_CHARS} visible ASCII characters",
    "token": f"must be 1 to {MAX_SECRET_CHARS} letters, digits and - . _ ~ + / with = at the end",
    "scope": "must be words of visible ASCII with one space between them",
    "token_url": "must be a URL",
}


class BadCredentials(ValueError):
    """Invalid credentials; `field` is the wrong one, None if the shape is. Never quotes a secret."""

    def __init__(self, field: str | None, why: str) -> None:
        super().__init__(why)
        self.field = field
        self.why = why


def parse_credentials(document: object) -> Credentials:
    """Read credentials from `{"kind": …}`; raises BadCredentials."""
    try:
        credentials: Credentials = msgspec.convert(document, Credentials)
    except msgspec.ValidationError as error:
        # The library's message may quote a value; ours never do.
        _, _, path = str(error).rpartition("`$")
        field = path.rstrip("`").lstrip(".")
        if field in _FIELD_ERRORS:
            raise BadCredentials(field, _FIELD_ERRORS[field]) from None
        raise BadCredentials(None, _describe_shape_error(document)) from None
    return credentials


def encode_credentials(credentials: Credentials) -> bytes:
    """Encode credentials as the bytes that are encrypted."""
    return msgspec.json.encode(credentials)


def decode_credentials(encoded: bytes) -> Credentials:
    """Read what `encode_credentials` wrote; raises msgspec.MsgspecError."""
    credentials: Credentials = msgspec.json.decode(encoded, type=Credentials)
    return credentials


def redact_credentials(credentials: Credentials) -> dict[str, str]:
    """Return the public fields of credentials, without secrets."""
    match credentials:
        case Basic(user=user):
            return {"kind": "basic", "user": user}
        case Bearer():
            return {"kind": "bearer"}
        case OAuth2(token_url=url, client_id=client, scope=scope):
            optional = {} if scope is None else {"scope": scope}
            return {"kind": "oauth2", "token_url": url, "client_id": client, **optional}
        case _:
            assert_never(credentials)


def build_authorization_header(credentials: Credentials) -> str | None:
    """Build the `Authorization` header; None for OAuth 2.0, which needs a token first."""
    match credentials:
        case Basic(user=user, password=password):
            return encode_basic_auth(user, password)
        case Bearer(token=token):
            return f"Bearer {token}"
        case OAuth2():
            return None
        case _:
            assert_never(credentials)


def encode_basic_auth(user: str, password: str) -> str:
    """Encode a user name and a password as the value of an `Authorization` header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _describe_shape_error(document: object) -> str:
    """Describe the error of a document whose fields do not fit its kind."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind not in _REQUIRED_FIELDS:
        return f"must be an object with a kind: {', '.join(_REQUIRED_FIELDS)}"
    return f"{kind} takes {_REQUIRED_FIELDS[kind]}, and nothing else"


_REQUIRED_FIELDS: Final = {
    "basic": "user and password",
    "bearer": "token",
    "oauth2": "token_url, client_id, client_secret and, if wanted, scope",
}
