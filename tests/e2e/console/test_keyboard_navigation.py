"""Keyboard navigation of the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.support.console_users import ADMIN, SUPPORT

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.console_visits import ConsoleVisits
    from tests.support.showcase import Showcase


def is_marked(page: Page) -> bool:
    """Whether the focused element is visibly marked."""
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    return bool(style != "none")


def test_user_can_sign_in_by_keyboard(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_anonymously() as page:
        page.goto("/console/sign-in")
        page.keyboard.type(SUPPORT.email)
        page.keyboard.press("Tab")
        assert is_marked(page)
        page.keyboard.type(SUPPORT.password)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_slash_focuses_the_search_box(console_visits: ConsoleVisits, showcase: Showcase) -> None:
    wanted = showcase.get_delivery_id("lumen/crm")
    with console_visits.visit_as(ADMIN) as page:
        page.goto("/console")
        page.keyboard.press("/")
        assert is_marked(page)
        page.keyboard.type(wanted)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/deliveries/{wanted}")


def test_slash_is_typed_inside_text_fields(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_as(ADMIN) as page:
        page.goto("/console/deliveries")
        page.get_by_label("Event type").focus()
        page.keyboard.type("a/b")
        assert page.get_by_label("Event type").input_value() == "a/b"


def test_j_and_k_move_between_rows_and_enter_opens_one(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_as(ADMIN) as page:
        page.goto("/console/deliveries?status=succeeded")
        page.keyboard.press("j")
        page.keyboard.press("j")
        expect(page.locator("a.row").nth(1)).to_be_focused()
        assert is_marked(page)
        page.keyboard.press("k")
        first = page.locator("a.row").first
        expect(first).to_be_focused()
        leads_to = first.get_attribute("href")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{leads_to}")


def test_account_menu_opens_and_closes(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_as(ADMIN) as page:
        page.goto("/console")
        menu = page.locator("details.menu")
        menu.locator("summary").focus()
        page.keyboard.press("Enter")
        expect(menu.get_by_role("button", name="Sign out")).to_be_visible()
        page.keyboard.press("Tab")
        assert is_marked(page)
        page.keyboard.press("Escape")
        expect(menu.get_by_role("button", name="Sign out")).to_be_hidden()
        expect(menu.locator("summary")).to_be_focused()


def test_first_tab_stop_is_the_skip_link(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_as(ADMIN) as page:
        page.goto("/console")
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to content")
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()


def test_focus_survives_an_automatic_refresh(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_as(ADMIN) as page:
        page.clock.install()
        page.goto("/console")
        row = page.locator("#trouble ~ .scroll a.row").first
        row.focus()
        row.evaluate("(row) => { row.dataset.old = 'yes' }")
        page.clock.fast_forward(11_000)
        expect(page.locator("a.row[data-old]")).to_have_count(0)
        expect(row).to_be_focused()
