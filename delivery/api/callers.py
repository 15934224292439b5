"""Who is calling, and for which tenant."""

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from delivery.bootstrap import Services
from delivery.errors import Invalid, MalformedId, NotAllowed, NotAuthenticated, NotFound
from delivery.model import Actor, KeyId, Prefix, TenantId, parse_id, show_id

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


async def identify(request: Request) -> Caller:
    """Whose key the request carries; raises NotAuthenticated."""
    services = services_of(request)
    address = None if request.client is None else request.client.host
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    operator = services.settings.operator_key
    # Headers arrive as Latin-1; back to the bytes that were sent.
    if operator is not None and hmac.compare_digest(
        key.encode("latin-1"), operator.get_secret_value().encode()
    ):
        return Caller(Actor(OPERATOR, address), None)
    known = await services.tenants.authenticate(key)
    return Caller(Actor(show_id(Prefix.KEY, known.id), address), known.tenant_id, known.id)


async def acting_for(request: Request) -> Acting:
    """For which tenant the request acts. Whether the operator named one that exists is not looked up."""
    caller = await identify(request)
    named = request.headers.get(TENANT_HEADER)
    tenant_id = None if named is None else _parse_tenant(named)
    if caller.tenant_id is None:
        if tenant_id is None:
            raise Invalid(TENANT_HEADER, "is needed with the operator's key: name the tenant to act for")
        return Acting(caller.actor, tenant_id)
    if tenant_id is not None and tenant_id != caller.tenant_id:
        raise NotFound("tenant", show_id(Prefix.TENANT, tenant_id))
    return Acting(caller.actor, caller.tenant_id, caller.key_id)


async def _tenant(request: Request, _key: _Documented, _named: _TenantHeader = None) -> Acting:
    acting = await acting_for(request)
    if acting.actor.name == OPERATOR:
        await services_of(request).tenants.read(acting.tenant_id)
    return acting


async def _seeing(request: Request, _key: _Documented, named: _TenantHeader = None) -> Caller:
    caller = await identify(request)
    if caller.tenant_id is None and named is None:
        return caller
    acting = await _tenant(request, _key, named)
    return Caller(acting.actor, acting.tenant_id, acting.key_id)


async def _operator(request: Request, _key: _Documented) -> Actor:
    caller = await identify(request)
    if caller.tenant_id is not None:
        raise NotAllowed("This is for the operator's key alone.")
    return caller.actor


def _parse_tenant(text: str) -> TenantId:
    try:
        return TenantId(parse_id(Prefix.TENANT, text))
    except MalformedId as error:
        raise Invalid(TENANT_HEADER, str(error)) from None


ForTenant = Annotated[Acting, Depends(_tenant)]
Seeing = Annotated[Caller, Depends(_seeing)]
AsOperator = Annotated[Actor, Depends(_operator)]
Uses = Annotated[Services, Depends(services_of)]
