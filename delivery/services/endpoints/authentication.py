"""What a person may set as an endpoint's authentication, and how it is sealed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from delivery.credentials import BadCredentials, OAuth2, read_credentials, read_written, shown_of, written
from delivery.endpoints.terms import checked_address
from delivery.errors import Invalid
from delivery.secrets import auth_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from delivery.credentials import Credentials
    from delivery.endpoints.terms import EndpointTerms
    from delivery.model import Endpoint
    from delivery.secrets import SecretBox


def checked_auth(asked: Mapping[str, object] | None, terms: EndpointTerms) -> Credentials | None:
    """The credentials that are asked for; raises Invalid."""
    if asked is None:
        return None
    try:
        credentials = read_credentials(dict(asked))
    except BadCredentials as error:
        raise Invalid("auth" if error.field is None else f"auth.{error.field}", error.why) from None
    if isinstance(credentials, OAuth2):
        normal = checked_address(credentials.token_url, terms, field_name="auth.token_url")
        return msgspec.structs.replace(credentials, token_url=normal)
    return credentials


def with_auth(box: SecretBox, endpoint: Endpoint, credentials: Credentials | None) -> Endpoint:
    """The endpoint with these credentials sealed into it; as it was when they are the ones it has."""
    if credentials is None:
        return replace(endpoint, auth=None, sealed_auth=None)
    context = auth_context(endpoint.tenant_id, endpoint.id)
    if endpoint.sealed_auth is not None:
        opened = box.open(endpoint.sealed_auth, context=context)
        if read_written(opened) == credentials:
            return endpoint
    sealed = box.seal(written(credentials), context=context)
    return replace(endpoint, auth=shown_of(credentials), sealed_auth=sealed)


def refuse_two_authorizations(endpoint: Endpoint, *, named: str) -> None:
    """Raise Invalid, for what was `named`, when a custom header is the one that the authentication sets."""
    if endpoint.auth is not None and any(name.lower() == "authorization" for name in endpoint.header_names):
        raise Invalid(named, "The endpoint's auth sets the header Authorization: have one or the other.")
