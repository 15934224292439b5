"""`waybill person`: users of the console and their roles."""

import secrets
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from delivery import schemas
from delivery.bootstrap import Services
from delivery.cli.options.common import JsonOption, LimitOption, ReasonOption, id_option
from delivery.cli.options.examples import format_examples
from delivery.cli.output.pages import BEFORE_HELP, print_page, print_page_json, to_page_request
from delivery.cli.output.table import (
    Column,
    is_interactive,
    print_facts,
    print_json,
    print_note,
    print_text,
)
from delivery.cli.runtime import UsageError, get_actor, run_use_case
from delivery.clock import clock
from delivery.domain.accounts import Role, User
from delivery.domain.durations import format_utc
from delivery.domain.ids import Prefix, UserId, format_id, parse_id
from delivery.services.accounts.passwords import generate_password
from delivery.services.accounts.service import UserChanges
from delivery.services.presentation import format_relative_time

app = typer.Typer(name="person", help="Users of the console.", no_args_is_help=True)

UserArgument = Annotated[
    str, typer.Argument(metavar="PERSON", help="usr_… or e-mail address.", show_default=False)
]
GenerateOption = Annotated[
    bool, typer.Option("--generate", metavar="", help="Generate a password and print it once.")
]
PasswordStdinOption = Annotated[
    bool, typer.Option("--password-stdin", metavar="", help="Read the password from standard input.")
]


@dataclass(frozen=True, slots=True)
class _Password:
    text: str
    generated: bool


@app.command(
    epilog=format_examples(
        'waybill person create ada@example.com "Ada Lovelace" --role admin',
        'waybill person create joe@example.com "Joe Doe" --role support --generate',
    )
)
def create(
    email: Annotated[
        str, typer.Argument(metavar="EMAIL", help="The e-mail address to sign in with.", show_default=False)
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The display name.", show_default=False)],
    role: Annotated[Role, typer.Option("--role", help="The role.")] = Role.VIEWER,
    generate: GenerateOption = False,
    password_stdin: PasswordStdinOption = False,
    json: JsonOption = False,
) -> None:
    """Create a user, and print the id.

    The password is prompted for, unless --generate or --password-stdin is given.
    """
    password = _read_password(generate=generate, from_stdin=password_stdin)
    user = run_use_case(
        lambda uses: uses.accounts.create(email, name, role, password.text, actor=get_actor())
    )
    _print_with_password(password, user, json)


@app.command("list")
def list_users(
    limit: LimitOption = 20,
    before: Annotated[UserId | None, id_option("--before", Prefix.USER, BEFORE_HELP)] = None,
    json: JsonOption = False,
) -> None:
    """List users, newest first, including disabled ones."""
    page = run_use_case(lambda uses: uses.accounts.list_users(to_page_request(limit, before)))
    if json:
        print_page_json(page, schemas.users.UserOut.from_record, Prefix.USER)
        return
    now = clock()
    print_page(
        page,
        [
            Column("PERSON"),
            Column("E-MAIL", shrinkable=True),
            Column("NAME", shrinkable=True),
            Column("ROLE"),
            Column("MADE", optional=True),
            Column("DISABLED"),
        ],
        lambda user: (
            format_id(Prefix.USER, user.id),
            user.email,
            user.name,
            user.role,
            format_relative_time(user.created_at, now=now),
            "" if user.disabled_at is None else format_relative_time(user.disabled_at, now=now),
        ),
        Prefix.USER,
        empty_message="There are no users yet; `waybill person create` creates one.",
    )


@app.command(
    epilog=format_examples(
        "waybill person change ada@example.com --role support",
        "waybill person change ada@example.com --disable --reason 'left us'",
    )
)
def change(
    user: UserArgument,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="A new display name.")] = None,
    role: Annotated[Role | None, typer.Option("--role", help="A new role.")] = None,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Disable or enable the account.", metavar="")
    ] = None,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Change a user's name, role or state. Open sessions see it at once.

    A disabled user is signed out.
    """
    changes = UserChanges()
    if name is not None:
        changes["name"] = name
    if role is not None:
        changes["role"] = role
    if disabled is not None:
        changes["disabled"] = disabled

    async def use(uses: Services) -> User:
        found = await _find_user(uses, user)
        return await uses.accounts.change(found.id, changes, reason=reason, actor=get_actor())

    changed = run_use_case(use)
    if json:
        print_json(schemas.users.UserOut.from_record(changed))
        return
    _print_user(changed)


@app.command("set-password", epilog=format_examples("waybill person set-password ada@example.com --generate"))
def set_password(
    user: UserArgument,
    generate: GenerateOption = False,
    password_stdin: PasswordStdinOption = False,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Set a user's password. All sessions of the user end.

    It is prompted for, unless --generate or --password-stdin is given.
    """
    password = _read_password(generate=generate, from_stdin=password_stdin)

    async def use(uses: Services) -> User:
        found = await _find_user(uses, user)
        await uses.accounts.set_password(found.id, password.text, reason=reason, actor=get_actor())
        return found

    _print_with_password(password, run_use_case(use), json)


async def _find_user(services: Services, user: str) -> User:
    if user.startswith(f"{Prefix.USER}_"):
        return await services.accounts.read(UserId(parse_id(Prefix.USER, user)))
    return await services.accounts.find(user)


def _read_password(*, generate: bool, from_stdin: bool) -> _Password:
    if generate and from_stdin:
        raise UsageError("--generate and --password-stdin exclude each other.")
    if generate:
        return _Password(generate_password(secrets.token_bytes), generated=True)
    if from_stdin:
        return _Password(_read_stdin_line(), generated=False)
    if not is_interactive():
        raise UsageError("There is no terminal to prompt for a password: use --generate or --password-stdin.")
    text: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return _Password(text, generated=False)


def _read_stdin_line() -> str:
    """Read standard input without a final newline, which `echo` and editors add."""
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("The password on standard input is not UTF-8.") from None


def _print_with_password(password: _Password, user: User, json: bool) -> None:
    id_text = format_id(Prefix.USER, user.id)
    if json:
        if password.generated:
            print_json(schemas.users.NewPasswordOut.from_record(user, password=password.text))
        else:
            print_json(schemas.users.UserOut.from_record(user))
    elif password.generated:
        print_text(password.text)
        print_note(
            f"This is the password of {user.email} ({id_text}). Store it now: it will not be shown again."
        )
    else:
        print_text(id_text)


def _print_user(user: User) -> None:
    print_facts(
        [
            ("e-mail", user.email),
            ("name", user.name),
            ("role", user.role),
            ("made", format_utc(user.created_at)),
            ("disabled", "" if user.disabled_at is None else format_utc(user.disabled_at)),
        ],
        title=f"User {format_id(Prefix.USER, user.id)}",
    )
