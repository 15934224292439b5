"""All console pages by name, as an admin sees them in a small showcase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support import hostile_tenant

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.support.showcase import Showcase


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """A page: its path below /console, and what to do there before checking it.

    `says`: what somebody hostile wrote and the page has to show, letter by letter.
    """

    name: str
    path: Callable[[Showcase], str]
    prepare: Callable[[Page], None] = lambda _page: None
    expected_text: str = ""


# ------------------------------------------------------------------ addresses
def make_fixed_path(path: str) -> Callable[[Showcase], str]:
    """A path that is the same in every showcase."""
    return lambda _shown: path


def make_endpoint_path(name: str, suffix: str = "") -> Callable[[Showcase], str]:
    """The path of an endpoint's page, or of an action on it."""
    return lambda shown: f"/endpoints/{shown.endpoints[name]}{suffix}"


def make_delivery_path(name: str, **filters: str) -> Callable[[Showcase], str]:
    """The path of an endpoint's newest delivery that matches these filters."""
    return lambda shown: f"/deliveries/{shown.get_delivery_id(name, **filters)}"


def make_event_path(name: str, **filters: str) -> Callable[[Showcase], str]:
    """The path of that delivery's event."""
    return lambda shown: f"/events/{shown.list_deliveries(name, **filters)[0]['event_id']}"


def make_attempt_path(name: str, **filters: str) -> Callable[[Showcase], str]:
    """The path of that delivery's newest attempt."""
    return lambda shown: f"/attempts/{_list_attempts(shown, name, filters)[0]['id']}"


def make_replay_path(name: str, suffix: str = "") -> Callable[[Showcase], str]:
    """The path of a replay's page, or of an action on it."""
    return lambda shown: f"/replays/{shown.replays[name]}{suffix}"


def make_tenant_path(name: str) -> Callable[[Showcase], str]:
    """The path of a tenant's page."""
    return lambda shown: f"/tenants/{shown.tenants[name].id}"


def narrow_to_tenant(name: str, path: str) -> Callable[[Showcase], str]:
    """The path of a page narrowed to a tenant."""
    return lambda shown: f"{path}{'&' if '?' in path else '?'}tenant={shown.tenants[name].id}"


def make_replay_preview_path(name: str) -> Callable[[Showcase], str]:
    """The path of the preview of a replay to an endpoint."""
    return lambda shown: narrow_to_tenant(
        name.partition("/")[0], f"/replays/new?status=failed&endpoint={shown.endpoints[name]}"
    )(shown)


def make_recovery_path(name: str) -> Callable[[Showcase], str]:
    """The path of an endpoint's recovery page."""
    return lambda shown: f"/replays/recover?endpoint={shown.endpoints[name]}"


def make_key_confirmation_path(name: str, act: str) -> Callable[[Showcase], str]:
    """The path of the confirmation to rotate or revoke a tenant's key."""

    def path(shown: Showcase) -> str:
        own = make_tenant_path(name)(shown)
        keys = shown.operator.get(f"/v1{own}/keys")["items"]
        return f"{own}/keys/{next(key['id'] for key in keys if key['revoked_at'] is None)}/{act}"

    return path


def _list_attempts(shown: Showcase, name: str, filters: dict[str, str]) -> Any:
    path = f"/v1/deliveries/{shown.get_delivery_id(name, **filters)}/attempts"
    return shown.get_api(name).get(path)["items"]


# ------------------------------------------------------------------ what is done there
def open_attempt(page: Page) -> None:
    """Expand the newest attempt of a delivery and wait until it is loaded."""
    page.locator("details.attempt summary").first.click()
    page.locator("details.attempt pre").first.wait_for()


def open_all_details(page: Page) -> None:
    """Expand every collapsed part and wait until it is loaded."""
    page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
    page.wait_for_load_state("networkidle")


def open_menu(page: Page) -> None:
    """Open the account menu."""
    page.locator("details.menu summary").click()


def open_user(page: Page) -> None:
    """Open another user's page."""
    page.get_by_role("link", name="Vera Lind").click()
    page.get_by_role("heading", name="Vera Lind").wait_for()


def wait_for_preview(page: Page) -> None:
    """Wait until the replay preview has loaded."""
    page.get_by_role("button", name="Start the replay").wait_for()


CONSOLE_PAGES = (
    ConsolePage("overview", make_fixed_path("")),
    ConsolePage("overview-of-a-day", make_fixed_path("?span=day"), open_menu),
    ConsolePage("deliveries", make_fixed_path("/deliveries"), open_all_details),
    ConsolePage("deliveries-not-understood", make_fixed_path("/deliveries?since=yesterday&response=9xx")),
    ConsolePage("deliveries-none", make_fixed_path("/deliveries?type=nothing.like.it")),
    ConsolePage("delivery-failed", make_delivery_path("bramble/bounces", status="pending"), open_attempt),
    ConsolePage("delivery-succeeded", make_delivery_path("lumen/crm", status="succeeded"), open_all_details),
    ConsolePage("delivery-held", make_delivery_path("northwind/erp", status="pending")),
    ConsolePage("attempt", make_attempt_path("northwind/billing", status="succeeded")),
    ConsolePage("event", make_event_path("northwind/billing", status="succeeded"), open_all_details),
    ConsolePage("replays", make_fixed_path("/replays")),
    ConsolePage("replay-paused", make_replay_path("northwind/warehouse")),
    ConsolePage("replay-finished", make_replay_path("northwind/billing")),
    ConsolePage("replay-cancel", make_replay_path("northwind/warehouse", "/cancel")),
    ConsolePage("replay-whose", make_fixed_path("/replays/new?status=failed")),
    ConsolePage("replay-preview", make_replay_preview_path("northwind/affiliate"), wait_for_preview),
    ConsolePage("replay-recover", make_recovery_path("northwind/affiliate")),
    ConsolePage("endpoints", make_fixed_path("/endpoints")),
    ConsolePage("endpoint", make_endpoint_path("northwind/warehouse")),
    ConsolePage("endpoint-breaker-open", make_endpoint_path("northwind/erp")),
    ConsolePage("endpoint-disabled", make_endpoint_path("northwind/affiliate")),
    ConsolePage("endpoint-two-secrets", make_endpoint_path("lumen/analytics")),
    ConsolePage("endpoint-new", narrow_to_tenant("lumen", "/endpoints/new"), open_all_details),
    ConsolePage("endpoint-edit", make_endpoint_path("lumen/crm", "/edit")),
    ConsolePage("endpoint-filter-test", make_endpoint_path("lumen/crm", "/filter-test")),
    ConsolePage("endpoint-pause", make_endpoint_path("lumen/crm", "/pause")),
    ConsolePage("endpoint-resume", make_endpoint_path("northwind/returns", "/resume")),
    ConsolePage("endpoint-enable", make_endpoint_path("northwind/affiliate", "/enable")),
    ConsolePage("endpoint-delete", make_endpoint_path("lumen/crm", "/delete")),
    ConsolePage("endpoint-rotate", make_endpoint_path("lumen/crm", "/rotate")),
    ConsolePage("types", make_fixed_path("/types")),
    ConsolePage("types-of-a-tenant", narrow_to_tenant("lumen", "/types")),
    ConsolePage("event-type", make_fixed_path("/types/order.created")),
    ConsolePage("event-type-deprecated", make_fixed_path("/types/order.placed")),
    ConsolePage("audit", make_fixed_path("/audit?engine=1")),
    ConsolePage("tenants", make_fixed_path("/tenants")),
    ConsolePage("tenant", make_tenant_path("northwind"), open_all_details),
    ConsolePage("tenant-new", make_fixed_path("/tenants/new")),
    ConsolePage("key-rotate", make_key_confirmation_path("northwind", "rotate")),
    ConsolePage("key-revoke", make_key_confirmation_path("northwind", "revoke")),
    ConsolePage("people", make_fixed_path("/people")),
    ConsolePage("person", make_fixed_path("/people"), open_user),
    ConsolePage("person-new", make_fixed_path("/people/new")),
    ConsolePage("account", make_fixed_path("/account")),
)

_TEMPLATE = "{{7*7}}"
HOSTILE_PAGES = (
    ConsolePage("overview", narrow_to_tenant("hostile", ""), expected_text=_TEMPLATE),
    ConsolePage("deliveries", narrow_to_tenant("hostile", "/deliveries"), expected_text=_TEMPLATE),
    ConsolePage("delivery", make_delivery_path("hostile/refusing"), open_attempt, hostile_tenant.SCRIPT),
    ConsolePage(
        "delivery-held", make_delivery_path("hostile/paused"), open_all_details, hostile_tenant.REASON
    ),
    ConsolePage(
        "attempt",
        make_attempt_path("hostile/refusing"),
        open_all_details,
        f"<html><body onload='alert(3)'>{hostile_tenant.SCRIPT}",
    ),
    ConsolePage("event", make_event_path("hostile/refusing"), open_all_details, hostile_tenant.SCRIPT),
    ConsolePage(
        "endpoints", narrow_to_tenant("hostile", "/endpoints"), expected_text=hostile_tenant.DESCRIPTION
    ),
    ConsolePage("endpoint", make_endpoint_path("hostile/refusing"), expected_text=hostile_tenant.DESCRIPTION),
    ConsolePage("endpoint-paused", make_endpoint_path("hostile/paused"), expected_text=hostile_tenant.REASON),
    ConsolePage("endpoint-pause", make_endpoint_path("hostile/refusing", "/pause"), expected_text=_TEMPLATE),
    ConsolePage("endpoint-resume", make_endpoint_path("hostile/paused", "/resume"), expected_text=_TEMPLATE),
    ConsolePage(
        "endpoint-disable", make_endpoint_path("hostile/refusing", "/disable"), expected_text=_TEMPLATE
    ),
    ConsolePage(
        "endpoint-delete", make_endpoint_path("hostile/refusing", "/delete"), expected_text=_TEMPLATE
    ),
    ConsolePage(
        "endpoint-rotate", make_endpoint_path("hostile/refusing", "/rotate"), expected_text=_TEMPLATE
    ),
    ConsolePage(
        "endpoint-edit",
        make_endpoint_path("hostile/refusing", "/edit"),
        expected_text=hostile_tenant.DESCRIPTION,
    ),
    ConsolePage(
        "event-type", make_fixed_path("/types/hostile.words"), expected_text=hostile_tenant.DESCRIPTION
    ),
    ConsolePage("event-types", make_fixed_path("/types"), expected_text=hostile_tenant.DESCRIPTION),
    ConsolePage("replays", narrow_to_tenant("hostile", "/replays"), expected_text=hostile_tenant.REASON),
    ConsolePage("replay", make_replay_path("hostile"), expected_text=hostile_tenant.REASON),
    ConsolePage(
        "replay-whose", make_fixed_path("/replays/new?status=failed"), expected_text=hostile_tenant.NAME
    ),
    ConsolePage("replay-preview", make_replay_preview_path("hostile/refusing"), wait_for_preview, _TEMPLATE),
    ConsolePage("replay-recover", make_recovery_path("hostile/refusing"), expected_text=_TEMPLATE),
    ConsolePage("types", narrow_to_tenant("hostile", "/types"), expected_text="constructor.__proto__"),
    ConsolePage("tenants", make_fixed_path("/tenants"), expected_text=hostile_tenant.NAME),
    ConsolePage("tenant", make_tenant_path("hostile"), open_all_details, hostile_tenant.DESCRIPTION),
    ConsolePage(
        "key-revoke", make_key_confirmation_path("hostile", "revoke"), expected_text=hostile_tenant.SCRIPT
    ),
    ConsolePage("audit", narrow_to_tenant("hostile", "/audit?engine=1"), expected_text=hostile_tenant.REASON),
)
