"""Options for an endpoint's authentication. Secrets come from files or standard input, not from arguments."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import typer

from delivery.cli.options.common import read_content
from delivery.cli.runtime import UsageError

_NONE: Final = "none"
_PEM: Final = re.compile(r"(-----BEGIN ([A-Z ]+)-----.+?-----END \2-----)", re.DOTALL)


class AuthValue(NamedTuple):
    """Authentication as the HTTP API takes it. None: no authentication."""

    value: dict[str, Any] | None


def read_auth(text: str) -> AuthValue:
    """Read the API's `auth` as JSON from `@file` or `-` (standard input), or `none`."""
    if text == _NONE:
        return AuthValue(None)
    try:
        return AuthValue(msgspec.json.decode(read_secret_source(text), type=dict[str, Any]))
    except (msgspec.MsgspecError, UnicodeError):
        raise typer.BadParameter(
            'What is there is not a JSON object such as {"kind": "oauth2", …}.'
        ) from None


def read_basic(text: str) -> AuthValue:
    """Read a user name, and a password from `user:-` or `user:@file`."""
    user, colon, where = text.partition(":")
    if not colon:
        raise typer.BadParameter("It is of the form USER:- or USER:@file.")
    return AuthValue({"kind": "basic", "user": user, "password": read_secret_source(where)})


def read_bearer(text: str) -> AuthValue:
    """Read a token from `-` or `@file`."""
    return AuthValue({"kind": "bearer", "token": read_secret_source(text)})


class CertificateValue(NamedTuple):
    """A client certificate as the HTTP API takes it. None: no certificate."""

    value: dict[str, str] | None


def read_certificate(text: str) -> CertificateValue:
    """Read a PEM file with chain and private key from `@file` or `-`, or `none`."""
    if text == _NONE:
        return CertificateValue(None)
    blocks = _PEM.findall(read_secret_source(text))
    keys = [block for block, label in blocks if label.endswith("PRIVATE KEY")]
    if len(keys) != 1:
        raise typer.BadParameter("There must be certificates and one private key there, as PEM.")
    chain = "\n".join(block for block, label in blocks if label == "CERTIFICATE")
    return CertificateValue({"certificate": chain, "private_key": keys[0]})


def read_secret_source(source: str) -> str:
    """Read a secret from `@file` or `-` (standard input)."""
    # Other users of the machine can see arguments, and the shell's history keeps them.
    if source != "-" and not source.startswith("@"):
        raise typer.BadParameter("Give it as @file or - (standard input), not as itself: it is a secret.")
    return read_content(source).decode(errors="replace").strip("\r\n")


ClientCertificateOption = Annotated[
    CertificateValue | None,
    typer.Option(
        "--client-cert",
        parser=read_certificate,
        metavar="@FILE",
        help="For mutual TLS: certificates and private key as PEM, @file or - (standard input).",
    ),
]
AuthOption = Annotated[
    AuthValue | None,
    typer.Option(
        "--auth",
        parser=read_auth,
        metavar="@FILE",
        help="Authentication: the API's `auth` as JSON, @file or - (standard input).",
    ),
]
AuthBasicOption = Annotated[
    AuthValue | None,
    typer.Option(
        "--auth-basic",
        parser=read_basic,
        metavar="USER:@FILE",
        help="Basic authentication: user name, and password from @file or - (standard input).",
    ),
]
AuthBearerOption = Annotated[
    AuthValue | None,
    typer.Option(
        "--auth-bearer",
        parser=read_bearer,
        metavar="@FILE",
        help="A bearer token from @file or - (standard input).",
    ),
]


def choose_auth(
    document: AuthValue | None, basic: AuthValue | None, bearer: AuthValue | None
) -> AuthValue | None:
    """The one of the three options that was given, if any. Raises UsageError for more than one."""
    given = [option for option in (document, basic, bearer) if option is not None]
    if len(given) > 1:
        raise UsageError("Name one of --auth, --auth-basic and --auth-bearer.")
    return given[0] if given else None
