"""Every page of the console by name, of a small showcase: an admin sees them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support import hostile

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.support.showcase import Showcase


@dataclass(frozen=True, slots=True)
class Place:
    """A page: its address below /console, and what is done there before it is looked at.

    `says`: what somebody hostile wrote and the page has to show, letter by letter.
    """

    name: str
    path: Callable[[Showcase], str]
    act: Callable[[Page], None] = lambda _page: None
    says: str = ""


# ------------------------------------------------------------------ addresses
def at(path: str) -> Callable[[Showcase], str]:
    """The same address in every showcase."""
    return lambda _shown: path


def endpoint(name: str, move: str = "") -> Callable[[Showcase], str]:
    """An endpoint's page, or that of something to do with it."""
    return lambda shown: f"/endpoints/{shown.endpoints[name]}{move}"


def delivery(name: str, **filters: str) -> Callable[[Showcase], str]:
    """The newest delivery to an endpoint that meets these filters."""
    return lambda shown: f"/deliveries/{shown.delivery(name, **filters)}"


def event(name: str, **filters: str) -> Callable[[Showcase], str]:
    """The event of that delivery."""
    return lambda shown: f"/events/{shown.deliveries(name, **filters)[0]['event_id']}"


def attempt(name: str, **filters: str) -> Callable[[Showcase], str]:
    """Its newest attempt."""
    return lambda shown: f"/attempts/{_attempts(shown, name, filters)[0]['id']}"


def replay(name: str, move: str = "") -> Callable[[Showcase], str]:
    """A replay's page, or that of something to do with it."""
    return lambda shown: f"/replays/{shown.replays[name]}{move}"


def tenant(name: str) -> Callable[[Showcase], str]:
    """A tenant's own page."""
    return lambda shown: f"/tenants/{shown.owners[name].id}"


def narrowed(name: str, path: str) -> Callable[[Showcase], str]:
    """A page narrowed to a tenant."""
    return lambda shown: f"{path}{'&' if '?' in path else '?'}tenant={shown.owners[name].id}"


def replaying(name: str) -> Callable[[Showcase], str]:
    """The look at what a replay would send to an endpoint again."""
    return lambda shown: narrowed(
        name.partition("/")[0], f"/replays/new?status=failed&endpoint={shown.endpoints[name]}"
    )(shown)


def recovering(name: str) -> Callable[[Showcase], str]:
    """The choice of what an endpoint missed."""
    return lambda shown: f"/replays/recover?endpoint={shown.endpoints[name]}"


def asking_of_a_key(name: str, act: str) -> Callable[[Showcase], str]:
    """The question whether a tenant's key is to be rotated, or revoked."""

    def path(shown: Showcase) -> str:
        own = tenant(name)(shown)
        keys = shown.operator.get(f"/v1{own}/keys")["items"]
        return f"{own}/keys/{next(key['id'] for key in keys if key['revoked_at'] is None)}/{act}"

    return path


def _attempts(shown: Showcase, name: str, filters: dict[str, str]) -> Any:
    path = f"/v1/deliveries/{shown.delivery(name, **filters)}/attempts"
    return shown.api(name).get(path)["items"]


# ------------------------------------------------------------------ what is done there
def open_attempt(page: Page) -> None:
    """Open the newest attempt of a delivery where it stands, and wait until it is there."""
    page.locator("details.attempt summary").first.click()
    page.locator("details.attempt pre").first.wait_for()


def open_all(page: Page) -> None:
    """Unfold whatever is folded, and wait until what is asked for then is there."""
    page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
    page.wait_for_load_state("networkidle")


def open_menu(page: Page) -> None:
    """Open the menu of the account."""
    page.locator("details.menu summary").click()


def open_person(page: Page) -> None:
    """Go to a colleague's page."""
    page.get_by_role("link", name="Vera Lind").click()
    page.get_by_role("heading", name="Vera Lind").wait_for()


def weigh(page: Page) -> None:
    """Wait until the look at a replay has counted."""
    page.get_by_role("button", name="Start the replay").wait_for()


PLACES = (
    Place("overview", at("")),
    Place("overview-of-a-day", at("?span=day"), open_menu),
    Place("deliveries", at("/deliveries"), open_all),
    Place("deliveries-not-understood", at("/deliveries?since=yesterday&response=9xx")),
    Place("deliveries-none", at("/deliveries?type=nothing.like.it")),
    Place("delivery-failed", delivery("bramble/bounces", status="pending"), open_attempt),
    Place("delivery-succeeded", delivery("lumen/crm", status="succeeded"), open_all),
    Place("delivery-held", delivery("northwind/erp", status="pending")),
    Place("attempt", attempt("northwind/billing", status="succeeded")),
    Place("event", event("northwind/billing", status="succeeded"), open_all),
    Place("replays", at("/replays")),
    Place("replay-paused", replay("northwind/warehouse")),
    Place("replay-finished", replay("northwind/billing")),
    Place("replay-cancel", replay("northwind/warehouse", "/cancel")),
    Place("replay-whose", at("/replays/new?status=failed")),
    Place("replay-preview", replaying("northwind/affiliate"), weigh),
    Place("replay-recover", recovering("northwind/affiliate")),
    Place("endpoints", at("/endpoints")),
    Place("endpoint", endpoint("northwind/warehouse")),
    Place("endpoint-breaker-open", endpoint("northwind/erp")),
    Place("endpoint-disabled", endpoint("northwind/affiliate")),
    Place("endpoint-two-secrets", endpoint("lumen/analytics")),
    Place("endpoint-new", narrowed("lumen", "/endpoints/new"), open_all),
    Place("endpoint-edit", endpoint("lumen/crm", "/edit")),
    Place("endpoint-filter-test", endpoint("lumen/crm", "/filter-test")),
    Place("endpoint-pause", endpoint("lumen/crm", "/pause")),
    Place("endpoint-resume", endpoint("northwind/returns", "/resume")),
    Place("endpoint-enable", endpoint("northwind/affiliate", "/enable")),
    Place("endpoint-delete", endpoint("lumen/crm", "/delete")),
    Place("endpoint-rotate", endpoint("lumen/crm", "/rotate")),
    Place("types", at("/types")),
    Place("types-of-a-tenant", narrowed("lumen", "/types")),
    Place("event-type", at("/types/order.created")),
    Place("event-type-deprecated", at("/types/order.placed")),
    Place("audit", at("/audit?engine=1")),
    Place("tenants", at("/tenants")),
    Place("tenant", tenant("northwind"), open_all),
    Place("tenant-new", at("/tenants/new")),
    Place("key-rotate", asking_of_a_key("northwind", "rotate")),
    Place("key-revoke", asking_of_a_key("northwind", "revoke")),
    Place("people", at("/people")),
    Place("person", at("/people"), open_person),
    Place("person-new", at("/people/new")),
    Place("account", at("/account")),
)

_TEMPLATE = "{{7*7}}"
HOSTILE = (
    Place("overview", narrowed("hostile", ""), says=_TEMPLATE),
    Place("deliveries", narrowed("hostile", "/deliveries"), says=_TEMPLATE),
    Place("delivery", delivery("hostile/refusing"), open_attempt, hostile.SCRIPT),
    Place("delivery-held", delivery("hostile/paused"), open_all, hostile.REASON),
    Place(
        "attempt", attempt("hostile/refusing"), open_all, f"<html><body onload='alert(3)'>{hostile.SCRIPT}"
    ),
    Place("event", event("hostile/refusing"), open_all, hostile.SCRIPT),
    Place("endpoints", narrowed("hostile", "/endpoints"), says=hostile.DESCRIPTION),
    Place("endpoint", endpoint("hostile/refusing"), says=hostile.DESCRIPTION),
    Place("endpoint-paused", endpoint("hostile/paused"), says=hostile.REASON),
    Place("endpoint-pause", endpoint("hostile/refusing", "/pause"), says=_TEMPLATE),
    Place("endpoint-resume", endpoint("hostile/paused", "/resume"), says=_TEMPLATE),
    Place("endpoint-disable", endpoint("hostile/refusing", "/disable"), says=_TEMPLATE),
    Place("endpoint-delete", endpoint("hostile/refusing", "/delete"), says=_TEMPLATE),
    Place("endpoint-rotate", endpoint("hostile/refusing", "/rotate"), says=_TEMPLATE),
    Place("endpoint-edit", endpoint("hostile/refusing", "/edit"), says=hostile.DESCRIPTION),
    Place("event-type", at("/types/hostile.words"), says=hostile.DESCRIPTION),
    Place("event-types", at("/types"), says=hostile.DESCRIPTION),
    Place("replays", narrowed("hostile", "/replays"), says=hostile.REASON),
    Place("replay", replay("hostile"), says=hostile.REASON),
    Place("replay-whose", at("/replays/new?status=failed"), says=hostile.NAME),
    Place("replay-preview", replaying("hostile/refusing"), weigh, _TEMPLATE),
    Place("replay-recover", recovering("hostile/refusing"), says=_TEMPLATE),
    Place("types", narrowed("hostile", "/types"), says="constructor.__proto__"),
    Place("tenants", at("/tenants"), says=hostile.NAME),
    Place("tenant", tenant("hostile"), open_all, hostile.DESCRIPTION),
    Place("key-revoke", asking_of_a_key("hostile", "revoke"), says=hostile.SCRIPT),
    Place("audit", narrowed("hostile", "/audit?engine=1"), says=hostile.REASON),
)
