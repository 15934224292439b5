"""The context of a signed-in request: the user, their abilities, forms, links and responses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from delivery.console.web.rendering import render_template
from delivery.domain.errors import Invalid, MalformedId, NotAllowed, NotFound
from delivery.domain.ids import Prefix, TenantId, format_id, parse_id
from delivery.domain.tokens import derive_csrf_token, is_csrf_token_valid
from delivery.services.accounts.roles import Ability

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from starlette.requests import Request

    from delivery.bootstrap import Services
    from delivery.services.accounts.roles import Principal

ROOT: Final = "/console"
TENANT_PARAM: Final = "tenant"
_FLASH_COOKIE: Final = "waybill_said"
_MAX_FIELDS: Final = 200


@dataclass(frozen=True, slots=True)
class Form:
    """The submitted fields of a form, or the parameters of a query."""

    fields: Mapping[str, Sequence[str]]

    def get_text(self, name: str) -> str:
        """One field without surrounding space; empty if missing."""
        return next(iter(self.fields.get(name, ())), "").strip()

    def get_optional(self, name: str) -> str | None:
        """One field without surrounding space; None if empty or missing."""
        return self.get_text(name) or None

    def get_raw(self, name: str) -> str:
        """One field exactly as submitted, since passwords may begin with a space."""
        return next(iter(self.fields.get(name, ())), "")

    def get_all(self, name: str) -> Sequence[str]:
        """All non-empty values of one field."""
        return [value.strip() for value in self.fields.get(name, ()) if value.strip()]

    def get_id(self, prefix: Prefix, name: str) -> UUID | None:
        """One field as an id; None if it is not a valid id."""
        try:
            return parse_id(prefix, self.get_text(name))
        except MalformedId:
            return None

    def is_checked(self, name: str) -> bool:
        """Whether a checkbox is checked."""
        return bool(self.get_text(name))


EMPTY_FORM: Final = Form({})


@dataclass(frozen=True, slots=True)
class FormState:
    """What a page with forms shows again: which form was sent, its input, and the errors by field."""

    form_name: str = ""
    form_input: Form = EMPTY_FORM
    errors: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request. `tenant_id` is the user's own tenant, or the one that staff narrowed the page to."""

    request: Request
    services: Services
    principal: Principal
    session_token: str
    tenant_id: TenantId | None
    now: datetime

    @property
    def query(self) -> Form:
        """The query parameters of the URL; raises Invalid if they cannot be decoded."""
        return _parse_fields(self.request.url.query, "address")

    async def read_form(self) -> Form:
        """Read the submitted form; its CSRF token was checked before the handler ran."""
        return await read_form(self.request)

    def has_ability(self, ability: str) -> bool:
        """Whether the user has this ability."""
        return self.principal.has_ability(Ability(ability))

    @property
    def is_staff(self) -> bool:
        """Whether the user sees every tenant."""
        return self.principal.tenant_id is None

    @property
    def csrf_token(self) -> str:
        """The token that proves a form belongs to this session."""
        return derive_csrf_token(self.session_token)

    def parse_path_id(self, prefix: Prefix, name: str = "id") -> UUID:
        """Parse the id in the path; raises MalformedId."""
        return parse_id(prefix, self.request.path_params[name])

    async def find_owner(self, prefix: Prefix, id_: UUID) -> TenantId:
        """Find the tenant that owns this object; raises NotFound, also if the user may not see it."""
        if self.principal.tenant_id is not None:
            return self.principal.tenant_id
        return await self.services.lookups.find_tenant(prefix, id_)

    def link(self, path: str, **query: object) -> str:
        """Build the URL of a page, narrowed to the same tenant as this one."""
        params = {name: value for name, value in query.items() if value not in (None, "", [], ())}
        if self.is_staff and self.tenant_id is not None and TENANT_PARAM not in query:
            params[TENANT_PARAM] = format_id(Prefix.TENANT, self.tenant_id)
        return build_path(path) + (f"?{urlencode(params, doseq=True)}" if params else "")

    def render_page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Render a page, with the flash message if there is one."""
        flash = self.request.cookies.get(_FLASH_COOKIE)
        html = render_template(
            template,
            ctx=self,
            now=self.now,
            link=self.link,
            current_path=self.request.url.path.removeprefix(ROOT) or "/",
            flash=None if flash is None else unquote(flash),
            **values,
        )
        response = HTMLResponse(html, status)
        if flash is not None:
            response.delete_cookie(_FLASH_COOKIE, path=ROOT)
        return response

    def redirect(self, path: str, *, flash: str | None = None, **query: object) -> Response:
        """Redirect to a page, which then shows the flash message."""
        response = RedirectResponse(self.link(path, **query), 303)
        if flash is not None:
            response.set_cookie(
                _FLASH_COOKIE, quote(flash), max_age=20, path=ROOT, httponly=True, samesite="lax"
            )
        return response


def build_path(path: str) -> str:
    """Build the path of a console page; `/` is the overview."""
    return ROOT + path.removesuffix("/")


def make_get_route(
    path: str, handler: Callable[[RequestContext], Awaitable[Response]], ability: Ability = Ability.SEE
) -> Route:
    """Make a GET route for users with this ability."""

    async def serve(request: Request) -> Response:
        return await handler(await _build_context(request, ability))

    return Route(build_path(path), serve, methods=["GET"])


def make_post_route(
    path: str, handler: Callable[[RequestContext], Awaitable[Response]], ability: Ability
) -> Route:
    """Make a POST route for users with this ability; checks the origin and the CSRF token."""

    async def serve(request: Request) -> Response:
        reject_cross_site(request)
        ctx = await _build_context(request, ability)
        if not is_csrf_token_valid(ctx.session_token, (await ctx.read_form()).get_text("csrf")):
            raise NotAllowed("This form belongs to another session. Go back, reload the page and try again.")
        return await handler(ctx)

    return Route(build_path(path), serve, methods=["POST"])


async def _build_context(request: Request, ability: Ability) -> RequestContext:
    services: Services = request.app.state.services
    token = request.cookies.get(session_cookie_name(request), "")
    principal = await services.accounts.load_principal(token, address=get_client_address(request))
    if not principal.has_ability(ability):
        raise NotAllowed(f"Your account ({principal.role}) may not do this.")
    return RequestContext(
        request, services, principal, token, _resolve_tenant(request, principal), services.clock()
    )


def _resolve_tenant(request: Request, principal: Principal) -> TenantId | None:
    if principal.tenant_id is not None:
        return principal.tenant_id
    requested = request.query_params.get(TENANT_PARAM)
    if not requested:
        return None
    try:
        return TenantId(parse_id(Prefix.TENANT, requested))
    except MalformedId:
        raise NotFound("tenant", requested) from None


# ------------------------------------------------------------------ parts of a request
def session_cookie_name(request: Request) -> str:
    """The session cookie's name; with https one that no other host can set."""
    return "__Host-waybill_session" if is_https(request) else "waybill_session"


def is_https(request: Request) -> bool:
    """Whether the request came over https, according to the server or a trusted proxy."""
    return request.url.scheme == "https"


def get_client_address(request: Request) -> str | None:
    """The client's IP address."""
    return None if request.client is None else request.client.host


async def read_form(request: Request) -> Form:
    """Read a submitted form; raises Invalid or HTTPException 415 for anything else."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Send a form.")
    body = await request.body()
    return _parse_fields(body.decode("ascii", errors="replace"), "form")


def _parse_fields(text: str, where: str) -> Form:
    try:
        return Form(parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"))
    except ValueError:
        raise Invalid(where, "cannot be read") from None


def reject_cross_site(request: Request) -> None:
    """Raise NotAllowed for a form that another site submitted.

    Browsers say by themselves where a form comes from; where they do not (without https), its origin must be
    the host that was asked, or WAYBILL_PUBLIC_URL's behind a proxy that names another host.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        foreign = site not in {"same-origin", "none"}
    else:
        public: str | None = request.app.state.services.settings.public_url
        ours = {request.headers.get("host", ""), urlsplit(public or "").netloc}
        foreign = origin is not None and urlsplit(origin).netloc not in ours - {""}
    if foreign:
        raise NotAllowed("This form was sent by another site.")
