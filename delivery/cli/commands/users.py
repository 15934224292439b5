"""`waybill person`: who may sign in at the console, and as what."""

import secrets
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from delivery.bootstrap import Services, clock
from delivery.cli import shapes
from delivery.cli.door import WrongUsage, actor, ask
from delivery.cli.listing import Before, cut_of, print_page
from delivery.cli.options import AsJson, Limit, Why, examples, id_option
from delivery.cli.screen import Column, is_terminal, note, print_facts, print_json, say
from delivery.model import PersonId, Prefix, parse_id, show_id
from delivery.people import Person, PersonChanges, Role
from delivery.people.passwords import generated
from delivery.wording import exact, when

app = typer.Typer(name="person", help="People: who may sign in at the console.", no_args_is_help=True)

Whom = Annotated[str, typer.Argument(metavar="PERSON", help="usr_… or e-mail address.", show_default=False)]
Generate = Annotated[
    bool, typer.Option("--generate", metavar="", help="Make a password, and print it this once.")
]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", metavar="", help="Read the password from standard input.")
]


@dataclass(frozen=True, slots=True)
class _Password:
    text: str
    generated: bool


@app.command(
    epilog=examples(
        'waybill person create ada@example.com "Ada Lovelace" --role admin',
        'waybill person create joe@example.com "Joe Doe" --role support --generate',
    )
)
def create(
    email: Annotated[
        str, typer.Argument(metavar="EMAIL", help="What they sign in with.", show_default=False)
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What they are called.", show_default=False)],
    role: Annotated[Role, typer.Option("--role", help="What they may do.")] = Role.VIEWER,
    generate: Generate = False,
    password_stdin: FromStdin = False,
    json: AsJson = False,
) -> None:
    """Make an account, and print its id.

    The password is asked for, unless --generate or --password-stdin says where it is from.
    """
    password = _password(generate=generate, from_stdin=password_stdin)
    made = ask(lambda uses: uses.people.create(email, name, role, password.text, actor=actor()))
    _print_with(password, made, json)


@app.command("list")
def list_people(
    limit: Limit = 20,
    before: Annotated[PersonId | None, id_option("--before", Prefix.PERSON, Before)] = None,
    json: AsJson = False,
) -> None:
    """List people, newest first, disabled ones too."""
    page = ask(lambda uses: uses.people.page(cut_of(limit, before)))
    if json:
        print_json(shapes.page([shapes.person(one) for one in page.items], Prefix.PERSON, page.last))
        return
    now = clock()
    print_page(
        page,
        [
            Column("PERSON"),
            Column("E-MAIL", gives_way=True),
            Column("NAME", gives_way=True),
            Column("ROLE"),
            Column("MADE", extra=True),
            Column("DISABLED"),
        ],
        lambda one: (
            show_id(Prefix.PERSON, one.id),
            one.email,
            one.name,
            one.role,
            when(one.created_at, now=now),
            "" if one.disabled_at is None else when(one.disabled_at, now=now),
        ),
        Prefix.PERSON,
        none="Nobody has an account yet; `waybill person create` makes one.",
    )


@app.command(
    epilog=examples(
        "waybill person change ada@example.com --role support",
        "waybill person change ada@example.com --disable --reason 'left us'",
    )
)
def change(
    person: Whom,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Call them so.")] = None,
    role: Annotated[Role | None, typer.Option("--role", help="What they may do from now on.")] = None,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether they are kept out.", metavar="")
    ] = None,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Change what somebody is called or may do, in open sessions at once.

    Whoever is disabled is signed out.
    """
    changes = PersonChanges()
    if name is not None:
        changes["name"] = name
    if role is not None:
        changes["role"] = role
    if disabled is not None:
        changes["disabled"] = disabled

    async def use(uses: Services) -> Person:
        found = await _find(uses, person)
        return await uses.people.change(found.id, changes, reason=reason, actor=actor())

    changed = ask(use)
    if json:
        print_json(shapes.person(changed))
        return
    _print(changed)


@app.command("set-password", epilog=examples("waybill person set-password ada@example.com --generate"))
def set_password(
    person: Whom,
    generate: Generate = False,
    password_stdin: FromStdin = False,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Give somebody a new password. Every session of theirs ends.

    It is asked for, unless --generate or --password-stdin says where it is from.
    """
    password = _password(generate=generate, from_stdin=password_stdin)

    async def use(uses: Services) -> Person:
        found = await _find(uses, person)
        await uses.people.set_password(found.id, password.text, reason=reason, actor=actor())
        return found

    _print_with(password, ask(use), json)


async def _find(uses: Services, named: str) -> Person:
    if named.startswith(f"{Prefix.PERSON}_"):
        return await uses.people.read(PersonId(parse_id(Prefix.PERSON, named)))
    return await uses.people.find(named)


def _password(*, generate: bool, from_stdin: bool) -> _Password:
    if generate and from_stdin:
        raise WrongUsage("--generate and --password-stdin exclude each other.")
    if generate:
        return _Password(generated(secrets.token_bytes), generated=True)
    if from_stdin:
        return _Password(_line_of_stdin(), generated=False)
    if not is_terminal():
        raise WrongUsage("Nobody is there to be asked for a password: use --generate or --password-stdin.")
    asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return _Password(asked, generated=False)


def _line_of_stdin() -> str:
    """All of standard input but a line's end: `echo` and editors leave one."""
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise WrongUsage("The password on standard input is not UTF-8.") from None


def _print_with(password: _Password, person: Person, json: bool) -> None:
    shown = show_id(Prefix.PERSON, person.id)
    if json:
        print_json(shapes.person(person) | ({"password": password.text} if password.generated else {}))
    elif password.generated:
        say(password.text)
        note(f"This is the password of {person.email} ({shown}). Keep it now: it will not be shown again.")
    else:
        say(shown)


def _print(one: Person) -> None:
    print_facts(
        [
            ("e-mail", one.email),
            ("name", one.name),
            ("role", one.role),
            ("made", exact(one.created_at)),
            ("disabled", "" if one.disabled_at is None else exact(one.disabled_at)),
        ],
        title=f"Person {show_id(Prefix.PERSON, one.id)}",
    )
