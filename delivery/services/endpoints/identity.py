"""An endpoint's client certificate: checked, and encrypted with its key for the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from delivery.domain.errors import Invalid
from delivery.domain.secret_box import build_identity_context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.destinations.http.client_certificate import ClientIdentity
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.secret_box import SecretBox

_FIELD = "client_certificate"


def validate_identity(requested: Mapping[str, str] | None, *, now: datetime) -> ClientIdentity | None:
    """Parse and check the requested certificate and key; raises Invalid."""
    if requested is None:
        return None
    from delivery.destinations.http.client_certificate import (  # noqa: PLC0415  few endpoints have one
        BadCertificate,
        parse_identity,
    )

    if requested.keys() != {"certificate", "private_key"}:
        raise Invalid(_FIELD, "takes certificate and private_key, and nothing else")
    try:
        return parse_identity(requested["certificate"], requested["private_key"], now=now)
    except BadCertificate as error:
        raise Invalid(f"{_FIELD}.{error.field}", error.why) from None


def with_identity(box: SecretBox, endpoint: Endpoint, identity: ClientIdentity | None) -> Endpoint:
    """The endpoint with this certificate and key encrypted; unchanged if it has the same ones."""
    if identity is None:
        return replace(endpoint, client_certificate=None, sealed_identity=None)
    from delivery.destinations.http.client_certificate import (  # noqa: PLC0415  few endpoints have one
        decode_identity,
        describe_identity,
        encode_identity,
    )

    context = build_identity_context(endpoint.tenant_id, endpoint.id)
    if endpoint.sealed_identity is not None:
        opened = box.open(endpoint.sealed_identity, context=context)
        if decode_identity(opened) == identity:
            return endpoint
    sealed = box.seal(encode_identity(identity), context=context)
    return replace(endpoint, client_certificate=describe_identity(identity), sealed_identity=sealed)


def refuse_without_tls(endpoint: Endpoint, *, field_name: str) -> None:
    """Raise Invalid for this field if there is a client certificate and the URL is not https."""
    if endpoint.client_certificate is not None and not endpoint.url.startswith("https:"):
        raise Invalid(field_name, "A client certificate is shown over https only.")
