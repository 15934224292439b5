"""An endpoint's authentication: checked, and encrypted for the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from delivery.destinations.http.auth import (
    BadCredentials,
    OAuth2,
    decode_credentials,
    encode_credentials,
    parse_credentials,
    redact_credentials,
)
from delivery.domain.errors import Invalid
from delivery.domain.secret_box import build_auth_context
from delivery.services.endpoints.validation import validate_target_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from delivery.destinations.http.auth import Credentials
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.secret_box import SecretBox
    from delivery.services.endpoints.validation import EndpointConfig


def validate_auth(requested: Mapping[str, object] | None, config: EndpointConfig) -> Credentials | None:
    """Parse and check the requested credentials; raises Invalid."""
    if requested is None:
        return None
    try:
        credentials = parse_credentials(dict(requested))
    except BadCredentials as error:
        raise Invalid("auth" if error.field is None else f"auth.{error.field}", error.why) from None
    if isinstance(credentials, OAuth2):
        normal = validate_target_url(credentials.token_url, config, field_name="auth.token_url")
        return msgspec.structs.replace(credentials, token_url=normal)
    return credentials


def with_auth(box: SecretBox, endpoint: Endpoint, credentials: Credentials | None) -> Endpoint:
    """The endpoint with these credentials encrypted; unchanged if it has the same ones."""
    if credentials is None:
        return replace(endpoint, auth=None, sealed_auth=None)
    context = build_auth_context(endpoint.tenant_id, endpoint.id)
    if endpoint.sealed_auth is not None:
        opened = box.open(endpoint.sealed_auth, context=context)
        if decode_credentials(opened) == credentials:
            return endpoint
    sealed = box.seal(encode_credentials(credentials), context=context)
    return replace(endpoint, auth=redact_credentials(credentials), sealed_auth=sealed)


def refuse_two_authorizations(endpoint: Endpoint, *, field_name: str) -> None:
    """Raise Invalid for this field if a custom header is the one that the authentication sets."""
    if endpoint.auth is not None and any(name.lower() == "authorization" for name in endpoint.header_names):
        raise Invalid(field_name, "The endpoint's auth sets the header Authorization: have one or the other.")
