"""How an endpoint's authentication is written on the command line: its secrets never in the arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import typer

from delivery.cli.options.common import read_content
from delivery.cli.runtime import UsageError

_NONE: Final = "none"
_PEM: Final = re.compile(r"(-----BEGIN ([A-Z ]+)-----.+?-----END \2-----)", re.DOTALL)


class AuthValue(NamedTuple):
    """Authentication as the HTTP API takes it; None stands for none."""

    value: dict[str, Any] | None


def read_auth(text: str) -> AuthValue:
    """Read `@file` or `-`, where the API's `auth` is as JSON, or `none`."""
    if text == _NONE:
        return AuthValue(None)
    try:
        return AuthValue(msgspec.json.decode(read_secret_source(text), type=dict[str, Any]))
    except (msgspec.MsgspecError, UnicodeError):
        raise typer.BadParameter(
            'What is there is not a JSON object such as {"kind": "oauth2", …}.'
        ) from None


def read_basic(text: str) -> AuthValue:
    """Read `user:-` or `user:@file`."""
    user, colon, where = text.partition(":")
    if not colon:
        raise typer.BadParameter("It is of the form USER:- or USER:@file.")
    return AuthValue({"kind": "basic", "user": user, "password": read_secret_source(where)})


def read_bearer(text: str) -> AuthValue:
    """Read `-` or `@file`."""
    return AuthValue({"kind": "bearer", "token": read_secret_source(text)})


class CertificateValue(NamedTuple):
    """A client certificate as the HTTP API takes it; None stands for none."""

    value: dict[str, str] | None


def read_certificate(text: str) -> CertificateValue:
    """Read `@file` or `-`, where chain and private key stand together as PEM, or `none`."""
    if text == _NONE:
        return CertificateValue(None)
    blocks = _PEM.findall(read_secret_source(text))
    keys = [block for block, label in blocks if label.endswith("PRIVATE KEY")]
    if len(keys) != 1:
        raise typer.BadParameter("There must be certificates and one private key there, as PEM.")
    chain = "\n".join(block for block, label in blocks if label == "CERTIFICATE")
    return CertificateValue({"certificate": chain, "private_key": keys[0]})


def read_secret_source(source: str) -> str:
    """Read what is secret from where it is: `@file` or `-` (standard input)."""
    # What stands in the arguments can be seen by everybody on the machine, and stays in the shell's history.
    if source != "-" and not source.startswith("@"):
        raise typer.BadParameter("Give it as @file or - (standard input), not as itself: it is a secret.")
    return read_content(source).decode(errors="replace").strip("\r\n")


ClientCertificateOption = Annotated[
    CertificateValue | None,
    typer.Option(
        "--client-cert",
        parser=read_certificate,
        metavar="@FILE",
        help="Shown in the TLS handshake: certificates and private key as PEM, @file or - (standard input).",
    ),
]
AuthOption = Annotated[
    AuthValue | None,
    typer.Option(
        "--auth",
        parser=read_auth,
        metavar="@FILE",
        help="How it is shown who calls: the API's `auth` as JSON, @file or - (standard input).",
    ),
]
AuthBasicOption = Annotated[
    AuthValue | None,
    typer.Option(
        "--auth-basic",
        parser=read_basic,
        metavar="USER:@FILE",
        help="A user name, and where its password is: @file or - (standard input).",
    ),
]
AuthBearerOption = Annotated[
    AuthValue | None,
    typer.Option(
        "--auth-bearer",
        parser=read_bearer,
        metavar="@FILE",
        help="Where its bearer token is: @file or - (standard input).",
    ),
]


@dataclass(frozen=True, slots=True)
class AuthOptions:
    """What of the authentication was named on the command line."""

    document: AuthValue | None = None
    basic: AuthValue | None = None
    bearer: AuthValue | None = None

    @property
    def chosen(self) -> AuthValue | None:
        """The one that was named; None when none was. Raises WrongUsage for two."""
        named = [one for one in (self.document, self.basic, self.bearer) if one is not None]
        if len(named) > 1:
            raise UsageError("Name one of --auth, --auth-basic and --auth-bearer.")
        return named[0] if named else None

    @property
    def value(self) -> dict[str, Any] | None:
        """The authentication of a new endpoint."""
        return None if self.chosen is None else self.chosen.value
