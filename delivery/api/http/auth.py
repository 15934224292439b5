"""Who is calling, and for which tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from delivery.api.problems import MORE_HEADERS
from delivery.bootstrap import Services
from delivery.errors import Invalid, MalformedId, NotAuthenticated, NotFound, ScopeMissing, TooManyRequests
from delivery.model import Actor, ApiKey, KeyId, Prefix, TenantId, parse_id, show_id
from delivery.scopes import Scope

OPERATOR = "operator"
TENANT_HEADER = "Waybill-Tenant"
SCHEME = "ApiKey"

# Only for the documentation: the key is read below, with one answer for whatever is wrong with it.
_scheme = HTTPBearer(
    scheme_name=SCHEME,
    auto_error=False,
    description="A tenant's key (`wbk_…`), or the operator's key together with the header `Waybill-Tenant`.",
)
_Documented = Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]
_TenantHeader = Annotated[
    str | None,
    Header(alias=TENANT_HEADER, description="The tenant to act for. Only with the operator's key: `ten_…`."),
]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it is; no tenant: the operator's."""

    actor: Actor
    tenant_id: TenantId | None
    key_id: KeyId | None = None


@dataclass(frozen=True, slots=True)
class Acting:
    """For which tenant a request acts, and who is to be named for it. `key_id` None: the operator."""

    actor: Actor
    tenant_id: TenantId
    key_id: KeyId | None = None


def services_of(request: Request) -> Services:
    """The use cases that this application opens onto."""
    services: Services = request.app.state.services
    return services


async def identify(request: Request, needed: Sequence[Scope]) -> Caller:
    """Whose key the request carries, and that it may do this; raises as `admit` does."""
    key, address = await admit(request, needed), _address_of(request)
    if key is None:
        return Caller(Actor(OPERATOR, address), None)
    return Caller(Actor(show_id(Prefix.KEY, key.id), address), key.tenant_id, key.id)


async def admit(request: Request, needed: Sequence[Scope]) -> ApiKey | None:
    """The key that the request carries, once it is sure that it may do this; None: the operator's.

    Raises NotAuthenticated, TooManyTries for guesses, TooManyRequests, and ScopeMissing.
    """
    services = services_of(request)
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    key = await services.keys.authenticate(text, address=_address_of(request))
    if key is None:
        return None
    standing = services.keys.spend(key)
    if standing is not None:
        request.scope[MORE_HEADERS] = standing.headers()
        if standing.wait:
            raise TooManyRequests(standing.limit, standing.wait)
    missing = [scope for scope in needed if scope not in key.scopes]
    if missing:
        raise ScopeMissing(needed, missing)
    return key


async def tenant_of(request: Request, *needed: Scope) -> TenantId:
    """For which tenant the request acts, and no word of who asks: that is all that accepting needs.

    Whether the operator named one that exists is not looked up. Raises as `admit` does, Invalid and NotFound.
    """
    key = await admit(request, needed)
    return _tenant_for(request, None if key is None else key.tenant_id)


def _tenant_for(request: Request, own: TenantId | None) -> TenantId:
    """The tenant that the request names; `own` is the key's, which need not be named and is no other."""
    named = request.headers.get(TENANT_HEADER)
    tenant_id = own if named is None else _parse_tenant(named)
    if tenant_id is None:
        raise Invalid(TENANT_HEADER, "is needed with the operator's key: name the tenant to act for")
    if own is not None and tenant_id != own:
        raise NotFound("tenant", show_id(Prefix.TENANT, tenant_id))
    return tenant_id


def _address_of(request: Request) -> str | None:
    client: tuple[str, int] | None = request.scope.get("client")
    return None if client is None else client[0]


async def _acting_for_one_that_exists(request: Request, caller: Caller) -> Acting:
    acting = Acting(caller.actor, _tenant_for(request, caller.tenant_id), caller.key_id)
    if caller.tenant_id is None:
        await services_of(request).tenants.read(acting.tenant_id)
    return acting


async def _tenant(
    request: Request, needed: SecurityScopes, _key: _Documented, _named: _TenantHeader = None
) -> Acting:
    return await _acting_for_one_that_exists(request, await identify(request, _scopes(needed)))


async def _seeing(
    request: Request, needed: SecurityScopes, _key: _Documented, named: _TenantHeader = None
) -> Caller:
    caller = await identify(request, _scopes(needed))
    if caller.tenant_id is None and named is None:
        return caller
    acting = await _acting_for_one_that_exists(request, caller)
    return Caller(acting.actor, acting.tenant_id, acting.key_id)


async def _anyone(request: Request, needed: SecurityScopes, _key: _Documented) -> Caller:
    return await identify(request, _scopes(needed))


async def _operator(request: Request, needed: SecurityScopes, _key: _Documented) -> Actor:
    return (await identify(request, _scopes(needed))).actor


def _scopes(needed: SecurityScopes) -> list[Scope]:
    return [Scope(name) for name in needed.scopes]


def _for_tenant(*scopes: Scope) -> Any:
    return Security(_tenant, scopes=[str(scope) for scope in scopes])


def _parse_tenant(text: str) -> TenantId:
    try:
        return TenantId(parse_id(Prefix.TENANT, text))
    except MalformedId as error:
        raise Invalid(TENANT_HEADER, str(error)) from None


# What a route takes says which scope it needs, in its code and so in the document.
Managing = Annotated[Acting, _for_tenant(Scope.MANAGE)]
Reading = Annotated[Acting, _for_tenant(Scope.READ)]
Replaying = Annotated[Acting, _for_tenant(Scope.REPLAY)]
# Whoever comes by a link looks, and may replay, pause endpoints and rotate their secrets.
Linking = Annotated[Acting, _for_tenant(Scope.MANAGE, Scope.READ, Scope.REPLAY)]
Seeing = Annotated[Caller, Security(_seeing, scopes=[str(Scope.READ)])]
# For what is no tenant's, and the same for everybody.
Looking = Annotated[Caller, Security(_anyone, scopes=[str(Scope.READ)])]
AsOperator = Annotated[Actor, Security(_operator, scopes=[str(Scope.OPERATE)])]
Uses = Annotated[Services, Depends(services_of)]
