"""The test browser: an error in a page fails the test that visits it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.browser import find_accessibility_issues, get_horizontal_overflow, visit_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

SITE = "http://console.test"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'"
SOUND = (
    "<!doctype html><html lang=en><meta name=viewport content='width=device-width'><title>A page</title>"
    "<main><h1>Sound</h1></main>"
)


def serve(route: Route) -> None:
    """A site without a server; /say/… returns a page with the text of its path."""
    path = route.request.url.removeprefix(SITE)
    if path == "/own.js":
        route.fulfill(body="window.ours = true", content_type="text/javascript")
    elif path == "/broken.js":
        route.fulfill(body="throw new Error('broken')", content_type="text/javascript")
    elif path == "/alert.js":
        route.fulfill(body="alert('gotcha')", content_type="text/javascript")
    elif path == "/gone.png":
        route.fulfill(status=404)
    elif path == "/cut.png":
        route.abort("connectionreset")
    else:
        route.fulfill(
            body=SOUND + PAGES[path], headers={"Content-Security-Policy": POLICY}, content_type="text/html"
        )


PAGES = {
    "/": '<script src="/own.js"></script>',
    "/broken": '<script src="/broken.js"></script>',
    "/alert": '<script src="/alert.js"></script>',
    "/missing": '<img alt="" src="/gone.png">',
    "/cut": '<img alt="" src="/cut.png">',
    "/inline-script": "<script>window.theirs = true</script>",
    "/inline-style": '<p style="color: red">red</p>',
    "/handler": '<img alt="" src="/gone.png" onerror="window.theirs = true">',
    "/elsewhere": '<img alt="" src="https://elsewhere.test/pixel.png">',
    "/unlabelled": "<form><input></form>",
    "/wide": "<pre>" + "wide " * 300 + "</pre>",
}


def visit(browser: Browser, path: str, *allowed: str) -> None:
    """Open a page of the site and wait until it has loaded."""
    with visit_page(browser, SITE, allowed=allowed) as page:
        page.route("**/*", serve)
        page.goto(path)


def break_off(browser: Browser) -> None:
    """Fail on a page that has errors too."""
    with visit_page(browser, SITE) as page:
        page.route("**/*", serve)
        page.goto("/broken")
        raise LookupError


def test_healthy_page_reports_no_errors(browser: Browser) -> None:
    visit(browser, "/")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/broken", "script: broken"),
        ("/alert", "dialog: alert gotcha"),
        ("/missing", f"answer: 404 GET {SITE}/gone.png"),
        ("/cut", f"request: net::ERR_CONNECTION_RESET GET {SITE}/cut.png"),
        ("/inline-script", "Content Security Policy"),
        ("/inline-style", "Content Security Policy"),
        ("/handler", "Content Security Policy"),
        ("/elsewhere", "Content Security Policy"),
    ],
)
def test_page_errors_fail_the_test(browser: Browser, path: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        visit(browser, path)


def test_allowed_page_errors_do_not_fail_the_test(browser: Browser) -> None:
    visit(browser, "/missing", "answer: 404")


def test_own_failure_of_a_test_comes_before_page_errors(browser: Browser) -> None:
    with pytest.raises(LookupError) as failure:
        break_off(browser)
    assert failure.value.__notes__ == ["Troubles of the page: 1\nscript: broken"]


def test_axe_runs_despite_the_csp_and_names_page_rule_and_element(browser: Browser) -> None:
    with visit_page(browser, SITE) as page:
        page.route("**/*", serve)
        page.goto("/unlabelled")
        (found,) = find_accessibility_issues(page)
        assert found.startswith("/unlabelled label (critical): ")
        assert "<input>" in found
        page.goto("/")
        assert find_accessibility_issues(page, scheme="dark") == []


def test_horizontal_overflow_is_detected(browser: Browser) -> None:
    with visit_page(browser, SITE, phone=True) as page:
        page.route("**/*", serve)
        page.goto("/")
        assert get_horizontal_overflow(page) == 0
        page.goto("/wide")
        assert get_horizontal_overflow(page) > 0
