"""People at the console: accounts, sign-in, sessions, and links for partners to their own tenant."""

from delivery.accounts import Person, PortalRole
from delivery.model import PersonId
from delivery.people.links import Link
from delivery.people.passwords import Passwords
from delivery.people.people import People, PersonChanges
from delivery.people.roles import Ability, Role, abilities_of, in_words
from delivery.people.tokens import csrf, csrf_matches
from delivery.people.visitors import Visitor

__all__ = [
    "Ability",
    "Link",
    "Passwords",
    "People",
    "Person",
    "PersonChanges",
    "PersonId",
    "PortalRole",
    "Role",
    "Visitor",
    "abilities_of",
    "csrf",
    "csrf_matches",
    "in_words",
]
