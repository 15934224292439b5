"""A real browser (Debian's chromium) for the console; it records every error of a page.

A visit ends with an AssertionError if a script failed, a request did not get what it asked for, a script ran
that is none of ours, or the page wanted what its security policy forbids. What is meant to go wrong is named.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playwright.sync_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Dialog,
        Page,
        Request,
        Response,
        StorageState,
        ViewportSize,
        WebError,
    )

    from tests.support.console_users import ConsoleUser

Scheme = Literal["light", "dark"]

DESKTOP: Final[ViewportSize] = {"width": 1280, "height": 800}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
AXE = Path(__file__).parent / "node" / "node_modules" / "axe-core" / "axe.min.js"
TIMEOUT_MS = 10_000

_BROWSER_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_BROWSER_ARGS = (
    "--disable-background-networking",
    "--disable-dev-shm-usage",  # containers give it little
    "--disable-gpu",
    "--disable-lcd-text",  # letters without coloured edges: pictures are smaller
    "--font-render-hinting=none",
)
_BAD_REQUEST = 400
# State that stays behind after navigation.
_NAVIGATION_ABORTED = "net::ERR_ABORTED"
# The console's line about a bad answer: it names no address, and the answer itself is heard anyway.
_DUPLICATE_MESSAGE = "Failed to load resource"
_REPORTED_IMPACTS = frozenset({"serious", "critical"})
_RUN_AXE = """async (rules) => {
    const some = rules.length ? {runOnly: rules} : {};
    const {violations} = await axe.run(document, {resultTypes: ["violations"], ...some});
    return violations.flatMap((found) => found.nodes.map((node) => ({
        rule: found.id, impact: node.impact ?? found.impact, help: found.help,
        at: node.target.join(" "), html: node.html, why: node.failureSummary ?? "",
    })));
}"""


@dataclass  # without slots: playwright marks the object whose methods it calls
class PageErrors:
    """The errors of the pages of one visit, except those that contain one of `allowed`."""

    allowed: Sequence[str] = ()
    messages: list[str] = field(default_factory=list)

    def listen(self, context: BrowserContext) -> None:
        """Record the errors of all pages of a visit."""
        context.on("console", self._on_console)
        context.on("weberror", self._on_script_error)
        context.on("requestfailed", self._on_request_failed)
        context.on("response", self._on_response)
        context.on("dialog", self._on_dialog)

    def format_report(self) -> str:
        """All errors, as text."""
        return "\n".join([f"Troubles of the page: {len(self.messages)}", *self.messages])

    def record(self, what: str) -> None:
        if not any(part in what for part in self.allowed):
            self.messages.append(what)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_DUPLICATE_MESSAGE):
            self.record(f"console: {message.text}")

    def _on_script_error(self, error: WebError) -> None:
        self.record(f"script: {error.error}")

    def _on_request_failed(self, request: Request) -> None:
        if request.failure != _NAVIGATION_ABORTED:
            self.record(f"request: {request.failure} {request.method} {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= _BAD_REQUEST:
            self.record(f"answer: {response.status} {response.request.method} {response.url}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.record(f"dialog: {dialog.type} {dialog.message}")
        dialog.dismiss()


@contextmanager
def launch_browser(*, scrollbars: bool = True) -> Iterator[Browser]:
    """Run one headless chromium with temporary folders of its own.

    `scrollbars`: whether pages leave room for them; pictures have none.

    While it runs, no other event loop can run in this thread: keep it no longer than its tests take.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_find_browser(),
            args=_BROWSER_ARGS,
            ignore_default_args=["--hide-scrollbars"] if scrollbars else (),
            handle_sigint=False,  # a cancelled run ends it from here
            handle_sigterm=False,
            handle_sighup=False,
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit_page(
    browser: Browser,
    url: str = "",
    *,
    scheme: Scheme = "light",
    phone: bool = False,
    session: StorageState | None = None,
    allowed: Sequence[str] = (),
) -> Iterator[Page]:
    """Open a page in a new context, or with a stored `session` (`page.context.storage_state()`).

    `url` is what addresses of pages are relative to.

    Raises AssertionError at the end if anything went wrong that has none of `allowed` in it. The most common
    ones to allow: `answer: 403`, of a page that is refused on purpose.
    """
    with tour_pages(browser, url, scheme=scheme, phone=phone, session=session) as (page, trouble):
        trouble.allowed = allowed
        yield page
    if trouble.messages:
        raise AssertionError(trouble.format_report())


@contextmanager
def tour_pages(
    browser: Browser,
    url: str = "",
    *,
    scheme: Scheme = "light",
    phone: bool = False,
    session: StorageState | None = None,
) -> Iterator[tuple[Page, PageErrors]]:
    """Open pages one after the other and check each for errors."""
    trouble = PageErrors()
    context = browser.new_context(
        base_url=url or None,
        viewport=PHONE if phone else DESKTOP,
        is_mobile=phone,
        has_touch=phone,
        color_scheme=scheme,
        storage_state=session,
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    )
    try:
        context.set_default_timeout(TIMEOUT_MS)
        trouble.listen(context)
        page = context.new_page()
        if phone:  # where scrollbars are drawn over the page, while it is scrolled
            context.new_cdp_session(page).send("Emulation.setScrollbarsHidden", {"hidden": True})
        yield page, trouble
    except BaseException as error:
        error.add_note(trouble.format_report())
        raise
    finally:
        context.close()


def sign_in(page: Page, user: ConsoleUser, *, then: str = "/console") -> None:
    """Sign in and open another page; raises AssertionError if sign-in fails."""
    page.goto(f"/console/sign-in?next={then}")
    page.get_by_label("E-mail").fill(user.email)
    page.get_by_label("Password").fill(user.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_load_state("load")
    if page.url.partition("?")[0].endswith("/sign-in"):
        raise AssertionError(f"Not signed in: {page.get_by_role('alert').all_inner_texts()}")


def find_accessibility_issues(
    page: Page, *, scheme: Scheme | None = None, rules: Sequence[str] = ()
) -> list[str]:
    """The serious and critical issues that axe-core finds on this page: one line per element.

    With `scheme` the page is looked at in those colours. `rules`: only these, by name.
    """
    if scheme is not None:
        page.emulate_media(color_scheme=scheme)
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(_load_axe_source())
    found = cast("list[dict[str, Any]]", page.evaluate(_RUN_AXE, list(rules)))
    where = page.evaluate("location.pathname")
    return [
        f"{where} {one['rule']} ({one['impact']}): {one['help']}\n  {one['at']}\n  {one['html']}\n"
        f"  {one['why']}"
        for one in found
        if one["impact"] in _REPORTED_IMPACTS
    ]


def get_horizontal_overflow(page: Page) -> int:
    """The number of pixels by which the page is wider than its window."""
    root = "document.documentElement"
    return int(page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


@cache
def _load_axe_source() -> str:
    if not AXE.is_file():
        raise FileNotFoundError(f"{AXE} is missing: `make node` installs it.")
    # It says of itself what it evaluates to; nothing of that can be handed over.
    return AXE.read_text() + "\n;undefined"


def _find_browser() -> str:
    found = next(filter(None, map(shutil.which, _BROWSER_PROGRAMS)), None)
    if found is None:
        raise FileNotFoundError(
            f"None of {', '.join(_BROWSER_PROGRAMS)} is installed: `make test` as root does it."
        )
    return found
