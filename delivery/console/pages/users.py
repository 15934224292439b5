"""Users: accounts and their roles. Admins only."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from delivery.console.web.context import Form, FormState, make_get_route, make_post_route
from delivery.console.web.paging import Pager
from delivery.domain.accounts import Role
from delivery.domain.errors import Conflict, Invalid
from delivery.domain.ids import Prefix, UserId, format_id
from delivery.services.accounts.passwords import generate_password
from delivery.services.accounts.roles import Ability, describe_role
from delivery.services.accounts.service import UserChanges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response

    from delivery.console.web.context import RequestContext
    from delivery.domain.accounts import User

PAGE_SIZE: Final = 50
_ROLE_ABILITIES: Final = {role: describe_role(role) for role in Role}


async def list_users(ctx: RequestContext) -> Response:
    """List all users, newest first."""
    pager = Pager(ctx, "/people", Prefix.USER, PAGE_SIZE)
    page = await ctx.services.accounts.list_users(pager.request)
    return ctx.render_page("people.html", users=page.items, **pager.build_links(page))


async def show_new_form(ctx: RequestContext) -> Response:
    """Show the form for a new account."""
    return _render_new_form(ctx, FormState())


async def create_user(ctx: RequestContext) -> Response:
    """Create an account; a generated password is shown once."""
    form = await ctx.read_form()
    password = form.get_raw("password") or generate_password(secrets.token_bytes)
    try:
        user = await ctx.services.accounts.create(
            form.get_text("email"),
            form.get_text("name"),
            _parse_role(form),
            password,
            actor=ctx.principal.actor,
        )
    except Invalid as error:
        return _render_new_form(ctx, FormState("new", form, {error.field: error.why}, 422))
    except Conflict:
        return _render_new_form(ctx, FormState("new", form, {"email": "already has an account"}, 409))
    if form.get_raw("password"):
        return ctx.redirect(_build_user_path(user.id), flash=f"{user.name} can sign in now.")
    return _render_password_once(ctx, user, password)


async def show_user(ctx: RequestContext) -> Response:
    """Show one account."""
    return await _render_page(ctx, FormState())


async def change_user(ctx: RequestContext) -> Response:
    """Change a user's name and role."""
    form = await ctx.read_form()

    async def act(person_id: UserId) -> Response:
        changes = UserChanges(name=form.get_text("name"), role=_parse_role(form))
        await _apply_changes(ctx, person_id, changes, form)
        return ctx.redirect(
            _build_user_path(person_id), flash="Changes saved; they apply to open sessions too."
        )

    return await _run_action(ctx, "change", form, act)


async def disable_user(ctx: RequestContext) -> Response:
    """Disable a user and end their sessions."""
    form = await ctx.read_form()

    async def act(person_id: UserId) -> Response:
        await _apply_changes(ctx, person_id, UserChanges(disabled=True), form)
        return ctx.redirect(_build_user_path(person_id), flash="Account disabled; its sessions have ended.")

    return await _run_action(ctx, "disable", form, act)


async def enable_user(ctx: RequestContext) -> Response:
    """Enable a disabled user."""
    form = await ctx.read_form()

    async def act(person_id: UserId) -> Response:
        await _apply_changes(ctx, person_id, UserChanges(disabled=False), form)
        return ctx.redirect(_build_user_path(person_id), flash="Account enabled.")

    return await _run_action(ctx, "disable", form, act)


async def set_password(ctx: RequestContext) -> Response:
    """Set a user's password; a generated one is shown once."""
    form = await ctx.read_form()
    password = form.get_raw("password") or generate_password(secrets.token_bytes)

    async def act(person_id: UserId) -> Response:
        mine = person_id == ctx.principal.user_id
        await ctx.services.accounts.set_password(
            person_id,
            password,
            keep_session_token=ctx.session_token if mine else None,
            reason=form.get_optional("reason"),
            actor=ctx.principal.actor,
        )
        if form.get_raw("password"):
            return ctx.redirect(_build_user_path(person_id), flash="Password set; their sessions have ended.")
        return _render_password_once(ctx, await ctx.services.accounts.read(person_id), password)

    return await _run_action(ctx, "password", form, act)


async def _apply_changes(ctx: RequestContext, person_id: UserId, changes: UserChanges, form: Form) -> None:
    await ctx.services.accounts.change(
        person_id, changes, reason=form.get_optional("reason"), actor=ctx.principal.actor
    )


async def _run_action(
    ctx: RequestContext, name: str, form: Form, action: Callable[[UserId], Awaitable[Response]]
) -> Response:
    """Run the action, or show the form again with its errors."""
    try:
        return await action(_parse_user_id(ctx))
    except Invalid as error:
        return await _render_page(ctx, FormState(name, form, {error.field: error.why}, 422))
    except Conflict as error:
        return await _render_page(ctx, FormState(name, form, {"state": str(error)}, 409))


# ------------------------------------------------------------------ the pages
def _render_new_form(ctx: RequestContext, state: FormState) -> Response:
    return ctx.render_page(
        "person_new.html",
        status=state.status,
        form_input=state.form_input,
        errors=state.errors,
        roles=_ROLE_ABILITIES,
    )


async def _render_page(ctx: RequestContext, state: FormState) -> Response:
    person = await ctx.services.accounts.read(_parse_user_id(ctx))
    return ctx.render_page(
        "person.html",
        status=state.status,
        user=person,
        public_id=format_id(Prefix.USER, person.id),
        is_self=person.id == ctx.principal.user_id,
        form_name=state.form_name,
        form_input=state.form_input,
        errors=state.errors,
        roles=_ROLE_ABILITIES,
    )


def _render_password_once(ctx: RequestContext, person: User, password: str) -> Response:
    answer = ctx.render_page("person_password.html", user=person, password=password)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _parse_user_id(ctx: RequestContext) -> UserId:
    return UserId(ctx.parse_path_id(Prefix.USER))


def _build_user_path(person_id: UserId) -> str:
    return f"/people/{format_id(Prefix.USER, person_id)}"


def _parse_role(form: Form) -> Role:
    try:
        return Role(form.get_text("role"))
    except ValueError:
        raise Invalid("role", f"must be one of {', '.join(Role)}") from None


ROUTES: Final = [
    make_get_route("/people", list_users, Ability.ADMINISTER),
    make_get_route("/people/new", show_new_form, Ability.ADMINISTER),
    make_post_route("/people", create_user, Ability.ADMINISTER),
    make_get_route("/people/{id}", show_user, Ability.ADMINISTER),
    make_post_route("/people/{id}/change", change_user, Ability.ADMINISTER),
    make_post_route("/people/{id}/disable", disable_user, Ability.ADMINISTER),
    make_post_route("/people/{id}/enable", enable_user, Ability.ADMINISTER),
    make_post_route("/people/{id}/password", set_password, Ability.ADMINISTER),
]
