"""Visits to the console of a showcase; a user signs in once and stays signed in."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.browser import sign_in, tour_pages, visit_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, StorageState

    from tests.support.browser import PageErrors
    from tests.support.console_users import ConsoleUser


@dataclass(frozen=True, slots=True)
class ConsoleVisits:
    """Visits to the console at `url`. `sessions` holds earlier sign-ins by e-mail."""

    browser: Browser
    url: str
    sessions: dict[str, StorageState]

    @contextmanager
    def visit_anonymously(self, *, phone: bool = False, allowed: tuple[str, ...] = ()) -> Iterator[Page]:
        """Open a page without signing in."""
        with visit_page(self.browser, self.url, phone=phone, allowed=allowed) as page:
            yield page

    @contextmanager
    def visit_as(
        self, user: ConsoleUser, *, phone: bool = False, allowed: tuple[str, ...] = ()
    ) -> Iterator[Page]:
        """Open a page as a signed-in user."""
        session = self._session(user)
        with visit_page(self.browser, self.url, phone=phone, session=session, allowed=allowed) as page:
            yield page

    @contextmanager
    def tour_as(self, user: ConsoleUser) -> Iterator[tuple[Page, PageErrors]]:
        """Open pages one after the other as a signed-in user."""
        with tour_pages(self.browser, self.url, session=self._session(user)) as (page, trouble):
            yield page, trouble

    def _session(self, one: ConsoleUser) -> StorageState:
        if one.email not in self.sessions:
            with self.visit_anonymously() as page:
                sign_in(page, one)
                self.sessions[one.email] = page.context.storage_state()
        return self.sessions[one.email]


def submit_form(page: Page, path: str, **fields: str) -> int:
    """Submit a form as the signed-in user, with their CSRF token, without using a button.

    Returns the status of the answer; nothing is followed.
    """
    token = page.locator("input[name=csrf]").first.input_value()
    answer = page.request.post(f"/console{path}", form={"csrf": token, **fields}, max_redirects=0)
    return answer.status


def get_page_text(page: Page) -> str:
    """All text of a page below its header: visible, collapsed, and in fields."""
    return str(
        page.evaluate("""() => {
            const main = document.querySelector("main");
            const fields = [...main.querySelectorAll("input, textarea")].map((field) => field.value);
            return [main.textContent, ...fields].join("\\n");
        }""")
    )
