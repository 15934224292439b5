"""Encryption of an endpoint's secrets and custom header values for the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import msgspec

from delivery.domain.endpoint import SealedSecret
from delivery.domain.ids import SecretId, new_id
from delivery.domain.secret_box import build_headers_context, build_secret_context
from signing import Ed25519Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.domain.endpoint import Endpoint
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.domain.secret_box import SecretBox
    from signing import Secret


@dataclass(frozen=True, slots=True, repr=False)
class CreatedSecret:
    """A new secret. `text` is returned once; None for ed25519, whose private key only we need."""

    secret: SealedSecret
    text: str | None


class SealedHeaders(TypedDict):
    """The two fields of an Endpoint for its custom headers."""

    header_names: tuple[str, ...]
    sealed_headers: bytes | None


def seal_headers(
    box: SecretBox, tenant_id: TenantId, endpoint_id: EndpointId, headers: Mapping[str, str]
) -> SealedHeaders:
    """Encrypt the values of custom headers; the names stay readable."""
    if not headers:
        return {"header_names": (), "sealed_headers": None}
    sealed = box.seal(
        msgspec.json.encode(dict(headers)), context=build_headers_context(tenant_id, endpoint_id)
    )
    return {"header_names": tuple(headers), "sealed_headers": sealed}


def open_headers(box: SecretBox, endpoint: Endpoint) -> dict[str, str]:
    """Decrypt an endpoint's custom headers; raises SecretUnreadable."""
    if endpoint.sealed_headers is None:
        return {}
    opened = box.open(endpoint.sealed_headers, context=build_headers_context(endpoint.tenant_id, endpoint.id))
    return msgspec.json.decode(opened, type=dict[str, str])


def seal_secret(box: SecretBox, endpoint: Endpoint, secret: Secret, *, now: datetime) -> CreatedSecret:
    """Encrypt a secret of an endpoint, as its newest one."""
    pair = secret if isinstance(secret, Ed25519Secret) else None
    revealed = secret.reveal()
    sealed_secret = SealedSecret(
        id=SecretId(new_id()),
        endpoint_id=endpoint.id,
        tenant_id=endpoint.tenant_id,
        signature=endpoint.signature,
        sealed=box.seal(revealed.encode(), context=build_secret_context(endpoint.tenant_id, endpoint.id)),
        key_id=secret.key_id,
        public_key=None if pair is None else pair.public.to_text(),
        created_at=now,
        not_after=None,
    )
    return CreatedSecret(sealed_secret, revealed if pair is None else None)
