"""Authenticate callers and resolve the tenant that a request acts for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from delivery.api.http.problems import EXTRA_HEADERS
from delivery.bootstrap import Services
from delivery.domain.accounts import Actor
from delivery.domain.api_key import ApiKey
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.errors import (
    Invalid,
    MalformedId,
    NotAuthenticated,
    NotFound,
    ScopeMissing,
    TooManyRequests,
)
from delivery.domain.ids import KeyId, Prefix, TenantId, format_id, parse_id
from delivery.domain.scopes import Scope
from delivery.schemas.base import API_KEY_SCHEME, TENANT_HEADER

OPERATOR = "operator"

# Only for the OpenAPI document: the key is read below, and every bad key gets the same answer.
_scheme = HTTPBearer(
    scheme_name=API_KEY_SCHEME,
    auto_error=False,
    description="A tenant's key (`wbk_…`), or the operator's key together with the header `Waybill-Tenant`.",
)
_DocumentedKey = Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]
_TenantHeader = Annotated[
    str | None,
    Header(alias=TENANT_HEADER, description="The tenant to act for. Only with the operator's key: `ten_…`."),
]


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller that a key identifies. `tenant_id` None: the operator."""

    actor: Actor
    tenant_id: TenantId | None
    key_id: KeyId | None = None


@dataclass(frozen=True, slots=True)
class TenantCaller:
    """A caller with the tenant it acts for. `key_id` None: the operator."""

    actor: Actor
    tenant_id: TenantId
    key_id: KeyId | None = None


def require_tenant_for_costly_filters(caller: Caller, selection: DeliveryFilter) -> None:
    """Raise Invalid if a search over all tenants uses a filter that needs a tenant."""
    if caller.tenant_id is not None or selection.endpoints:
        return
    for name, value in (("held_by", selection.held_by), ("idempotency_key", selection.idempotency_key)):
        if value:
            raise Invalid(name, f"needs a tenant: name it in the header {TENANT_HEADER}")


def get_services(request: Request) -> Services:
    """The application's services."""
    services: Services = request.app.state.services
    return services


async def identify_caller(request: Request, needed: Sequence[Scope]) -> Caller:
    """Identify the caller by its API key and check its scopes. Raises as `authorize_request` does."""
    key, address = await authorize_request(request, needed), _client_address(request)
    if key is None:
        return Caller(Actor(OPERATOR, address), None)
    return Caller(Actor(format_id(Prefix.KEY, key.id), address), key.tenant_id, key.id)


async def authorize_request(request: Request, needed: Sequence[Scope]) -> ApiKey | None:
    """Authenticate the request's key and check its scopes. None: the operator's key.

    Raises NotAuthenticated, TooManyTries after repeated wrong keys, TooManyRequests, and ScopeMissing.
    """
    services = get_services(request)
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    key = await services.api_keys.authenticate(text, address=_client_address(request))
    if key is None:
        return None
    rate_limit = services.api_keys.count_request(key)
    if rate_limit is not None:
        request.scope[EXTRA_HEADERS] = rate_limit.build_headers()
        if rate_limit.retry_after:
            raise TooManyRequests(rate_limit.limit, rate_limit.retry_after)
    missing = [scope for scope in needed if scope not in key.scopes]
    if missing:
        raise ScopeMissing(needed, missing)
    return key


async def authorize_for_tenant(request: Request, *needed: Scope) -> TenantId:
    """Authorize the request and return only its tenant, which is all that intake needs.

    Does not check that a tenant named by the operator exists.
    Raises as `authorize_request` does, and Invalid or NotFound for the tenant header.
    """
    key = await authorize_request(request, needed)
    return _resolve_tenant_id(request, None if key is None else key.tenant_id)


def _resolve_tenant_id(request: Request, key_tenant_id: TenantId | None) -> TenantId:
    """The tenant that the request names. A tenant's key need not name it, and may name no other."""
    named = request.headers.get(TENANT_HEADER)
    tenant_id = key_tenant_id if named is None else _parse_tenant_id(named)
    if tenant_id is None:
        raise Invalid(TENANT_HEADER, "is needed with the operator's key: name the tenant to act for")
    if key_tenant_id is not None and tenant_id != key_tenant_id:
        raise NotFound("tenant", format_id(Prefix.TENANT, tenant_id))
    return tenant_id


def _client_address(request: Request) -> str | None:
    client: tuple[str, int] | None = request.scope.get("client")
    return None if client is None else client[0]


async def _load_tenant_caller(request: Request, caller: Caller) -> TenantCaller:
    acting = TenantCaller(caller.actor, _resolve_tenant_id(request, caller.tenant_id), caller.key_id)
    if caller.tenant_id is None:
        await get_services(request).tenants.read(acting.tenant_id)
    return acting


async def _require_tenant_caller(
    request: Request, needed: SecurityScopes, _key: _DocumentedKey, _named: _TenantHeader = None
) -> TenantCaller:
    return await _load_tenant_caller(request, await identify_caller(request, _parse_scopes(needed)))


async def _require_any_tenant_caller(
    request: Request, needed: SecurityScopes, _key: _DocumentedKey, named: _TenantHeader = None
) -> Caller:
    caller = await identify_caller(request, _parse_scopes(needed))
    if caller.tenant_id is None and named is None:
        return caller
    acting = await _load_tenant_caller(request, caller)
    return Caller(acting.actor, acting.tenant_id, acting.key_id)


async def _require_caller(request: Request, needed: SecurityScopes, _key: _DocumentedKey) -> Caller:
    return await identify_caller(request, _parse_scopes(needed))


async def _require_operator(request: Request, needed: SecurityScopes, _key: _DocumentedKey) -> Actor:
    return (await identify_caller(request, _parse_scopes(needed))).actor


def _parse_scopes(needed: SecurityScopes) -> list[Scope]:
    return [Scope(name) for name in needed.scopes]


def _require_scopes(*scopes: Scope) -> Any:
    return Security(_require_tenant_caller, scopes=[str(scope) for scope in scopes])


def _parse_tenant_id(text: str) -> TenantId:
    try:
        return TenantId(parse_id(Prefix.TENANT, text))
    except MalformedId as error:
        raise Invalid(TENANT_HEADER, str(error)) from None


# A route's parameter declares the scopes it needs, both in code and in the OpenAPI document.
RequiresManage = Annotated[TenantCaller, _require_scopes(Scope.MANAGE)]
RequiresRead = Annotated[TenantCaller, _require_scopes(Scope.READ)]
RequiresReplay = Annotated[TenantCaller, _require_scopes(Scope.REPLAY)]
# Visitors with a portal link may read, replay, pause endpoints and rotate their secrets.
RequiresPortalScopes = Annotated[TenantCaller, _require_scopes(Scope.MANAGE, Scope.READ, Scope.REPLAY)]
RequiresReadAnyTenant = Annotated[Caller, Security(_require_any_tenant_caller, scopes=[str(Scope.READ)])]
# For resources that belong to no tenant and are the same for all.
RequiresReadNoTenant = Annotated[Caller, Security(_require_caller, scopes=[str(Scope.READ)])]
RequiresOperator = Annotated[Actor, Security(_require_operator, scopes=[str(Scope.OPERATE)])]
ServicesDep = Annotated[Services, Depends(get_services)]
