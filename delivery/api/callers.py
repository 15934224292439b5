"""Who is calling, and for which tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from delivery.api.problems import MORE_HEADERS
from delivery.bootstrap import Services
from delivery.errors import Invalid, MalformedId, NotAuthenticated, NotFound, ScopeMissing, TooManyRequests
from delivery.model import Actor, KeyId, Prefix, TenantId, parse_id, show_id
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
    """Whose key the request carries, and that it may do this.

    Raises NotAuthenticated, TooManyTries for guesses, TooManyRequests, and ScopeMissing.
    """
    services = services_of(request)
    address = None if request.client is None else request.client.host
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    key = await services.keys.authenticate(text, address=address)
    if key is None:
        return Caller(Actor(OPERATOR, address), None)
    standing = services.keys.spend(key)
    if standing is not None:
        request.scope[MORE_HEADERS] = standing.headers()
        if standing.wait:
            raise TooManyRequests(standing.limit, standing.wait)
    missing = [scope for scope in needed if scope not in key.scopes]
    if missing:
        raise ScopeMissing(needed, missing)
    return Caller(Actor(show_id(Prefix.KEY, key.id), address), key.tenant_id, key.id)


async def acting_for(request: Request, *needed: Scope) -> Acting:
    """For which tenant the request acts. Whether the operator named one that exists is not looked up."""
    return _acting(request, await identify(request, needed))


def _acting(request: Request, caller: Caller) -> Acting:
    named = request.headers.get(TENANT_HEADER)
    tenant_id = None if named is None else _parse_tenant(named)
    if caller.tenant_id is None:
        if tenant_id is None:
            raise Invalid(TENANT_HEADER, "is needed with the operator's key: name the tenant to act for")
        return Acting(caller.actor, tenant_id)
    if tenant_id is not None and tenant_id != caller.tenant_id:
        raise NotFound("tenant", show_id(Prefix.TENANT, tenant_id))
    return Acting(caller.actor, caller.tenant_id, caller.key_id)


async def _acting_for_one_that_exists(request: Request, caller: Caller) -> Acting:
    acting = _acting(request, caller)
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
