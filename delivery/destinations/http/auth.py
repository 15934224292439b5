"""How the engine shows an endpoint who it is, beside the signature: a closed set of credentials. Pure.

What may be shown of one is `shown_of`; the rest is secret, and kept only sealed.
"""

from __future__ import annotations

import base64
from typing import Annotated, Final, assert_never

import msgspec
from msgspec import Meta, Struct

LONGEST_SECRET: Final = 4_096
LONGEST_NAME: Final = 256
# Visible ASCII: what may stand in a header, or be encoded into one, and be read the same at the other end.
_Secret = Annotated[str, Meta(pattern=r"^[!-~](?:[ -~]*[!-~])?\Z", max_length=LONGEST_SECRET)]
_Name = Annotated[str, Meta(pattern=r"^[!-9;-~](?:[ -9;-~]*[!-9;-~])?\Z", max_length=LONGEST_NAME)]
_Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~+/-]+=*\Z", max_length=LONGEST_SECRET)]
_Scope = Annotated[str, Meta(pattern=r"^[!#-\[\]-~]+(?: [!#-\[\]-~]+)*\Z", max_length=1_024)]


class Basic(Struct, frozen=True, tag_field="kind", tag="basic", forbid_unknown_fields=True):
    """A user name and a password (RFC 7617)."""

    user: _Name
    password: _Secret


class Bearer(Struct, frozen=True, tag_field="kind", tag="bearer", forbid_unknown_fields=True):
    """A token that does not change by itself (RFC 6750)."""

    token: _Token


class OAuth2(Struct, frozen=True, tag_field="kind", tag="oauth2", forbid_unknown_fields=True):
    """Client credentials, for which a token server gives tokens (RFC 6749, section 4.4)."""

    token_url: str
    client_id: _Name
    client_secret: _Secret
    scope: _Scope | None = None


Credentials = Basic | Bearer | OAuth2
_FIELDS: Final = {
    "user": f"must be 1 to {LONGEST_NAME} visible ASCII characters without a colon",
    "client_id": f"must be 1 to {LONGEST_NAME} visible ASCII characters without a colon",
    "password": f"must be 1 to {LONGEST_SECRET} visible ASCII characters",
    "client_secret": f"must be 1 to {LONGEST_SECRET} visible ASCII characters",
    "token": f"must be 1 to {LONGEST_SECRET} letters, digits and - . _ ~ + / with = at the end",
    "scope": "must be words of visible ASCII with one space between them",
    "token_url": "must be a URL",
}


class BadCredentials(ValueError):
    """Credentials that no endpoint may have. `field` is what is wrong with them; the secret is not told."""

    def __init__(self, field: str | None, why: str) -> None:
        super().__init__(why)
        self.field = field
        self.why = why


def read_credentials(asked: object) -> Credentials:
    """Read credentials from `{"kind": …}`; raises BadCredentials."""
    try:
        read: Credentials = msgspec.convert(asked, Credentials)
    except msgspec.ValidationError as error:
        # The library's sentence may quote a value; of ours, none does.
        _, _, path = str(error).rpartition("`$")
        field = path.rstrip("`").lstrip(".")
        if field in _FIELDS:
            raise BadCredentials(field, _FIELDS[field]) from None
        raise BadCredentials(None, _shape_of(asked)) from None
    return read


def written(credentials: Credentials) -> bytes:
    """Credentials as the bytes that are sealed."""
    return msgspec.json.encode(credentials)


def read_written(written_: bytes) -> Credentials:
    """Read what `written` wrote; raises msgspec.MsgspecError."""
    read: Credentials = msgspec.json.decode(written_, type=Credentials)
    return read


def shown_of(credentials: Credentials) -> dict[str, str]:
    """What may be shown of credentials: nothing that opens a door."""
    match credentials:
        case Basic(user=user):
            return {"kind": "basic", "user": user}
        case Bearer():
            return {"kind": "bearer"}
        case OAuth2(token_url=url, client_id=client, scope=scope):
            more = {} if scope is None else {"scope": scope}
            return {"kind": "oauth2", "token_url": url, "client_id": client, **more}
        case _:
            assert_never(credentials)


def header_of(credentials: Credentials) -> str | None:
    """The value of `Authorization` that credentials are by themselves; None when it has to be asked for."""
    match credentials:
        case Basic(user=user, password=password):
            return basic(user, password)
        case Bearer(token=token):
            return f"Bearer {token}"
        case OAuth2():
            return None
        case _:
            assert_never(credentials)


def basic(user: str, password: str) -> str:
    """A user name and a password as the value of a header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _shape_of(asked: object) -> str:
    """Say what is wrong as a whole."""
    kind = asked.get("kind") if isinstance(asked, dict) else None
    if kind not in _NEEDED:
        return f"must be an object with a kind: {', '.join(_NEEDED)}"
    return f"{kind} takes {_NEEDED[kind]}, and nothing else"


_NEEDED: Final = {
    "basic": "user and password",
    "bearer": "token",
    "oauth2": "token_url, client_id, client_secret and, if wanted, scope",
}
