"""Take the pictures in docs/console again: `make screenshots`, or `… ARGS="--only replay"`.

A real engine with a showcase is visited with a real browser. A page in trouble is no picture.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from playwright.sync_api import Error

from tests.support.browser import launch_browser, sign_in, visit_page
from tests.support.console_pages import open_attempt
from tests.support.console_users import ADMIN
from tests.support.showcase import FULL_SHOWCASE, Showcase, run_showcase
from tests.support.stack import ROOT, run_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Page, StorageState

    from tests.support.browser import Scheme

FOLDER = ROOT / "docs" / "console"
MAX_BYTES, MAX_TOTAL_BYTES = 250_000, 4_000_000


@dataclass(frozen=True, slots=True)
class Screenshot:
    """One picture: its file name, its page, and what to do there before it is taken."""

    name: str
    path: Callable[[Showcase], str]
    prepare: Callable[[Page], None] = lambda _page: None
    scheme: Scheme = "light"
    phone: bool = False
    signed_in: bool = True


# ------------------------------------------------------------------ what is shown
def _at(path: str) -> Callable[[Showcase], str]:
    return lambda _shown: path


def _failed(shown: Showcase) -> str:
    return f"/deliveries/{shown.get_delivery_id('bramble/clicks', status='failed')}"


def _retried(shown: Showcase) -> str:
    return f"/deliveries/{shown.get_delivery_id('lumen/consents', status='succeeded', attempts_min='2')}"


def _held(shown: Showcase) -> str:
    return f"/deliveries/{shown.get_delivery_id('northwind/erp', status='pending')}"


def _endpoint(name: str, move: str = "") -> Callable[[Showcase], str]:
    return lambda shown: f"/endpoints/{shown.endpoints[name]}{move}"


def _replay(name: str) -> Callable[[Showcase], str]:
    return lambda shown: f"/replays/{shown.replays[name]}"


def _preview(shown: Showcase) -> str:
    tenant, clicks = shown.tenants["bramble"].id, shown.endpoints["bramble/clicks"]
    return f"/replays/new?tenant={tenant}&endpoint={clicks}&status=failed"


def _tenant(shown: Showcase) -> str:
    return f"/tenants/{shown.tenants['northwind'].id}"


SCREENSHOTS = (
    Screenshot("sign-in", _at("/sign-in"), signed_in=False),
    Screenshot("overview", _at("")),
    Screenshot("overview-dark", _at(""), scheme="dark"),
    Screenshot("overview-phone", _at(""), phone=True),
    Screenshot("deliveries", _at("/deliveries")),
    Screenshot("deliveries-failed-dark", _at("/deliveries?status=failed&since=24h"), scheme="dark"),
    Screenshot("deliveries-phone", _at("/deliveries"), phone=True),
    Screenshot("delivery-failed", _failed),
    Screenshot("delivery-retried", _retried, open_attempt),
    Screenshot("delivery-held-dark", _held, scheme="dark"),
    Screenshot("delivery-phone", _retried, phone=True),
    Screenshot("endpoints", _at("/endpoints")),
    Screenshot("endpoint", _endpoint("northwind/warehouse")),
    Screenshot("endpoint-breaker-open-dark", _endpoint("northwind/erp"), scheme="dark"),
    Screenshot("endpoint-secrets", _endpoint("lumen/analytics")),
    Screenshot("endpoint-resume", _endpoint("northwind/returns", "/resume")),
    Screenshot("endpoint-phone", _endpoint("northwind/warehouse"), phone=True),
    Screenshot("replays", _at("/replays")),
    Screenshot("replay-preview", _preview),
    Screenshot("replay-paused", _replay("northwind/warehouse")),
    Screenshot("replay-finished-dark", _replay("northwind/billing"), scheme="dark"),
    Screenshot("event-types", _at("/types")),
    Screenshot("tenants", _at("/tenants")),
    Screenshot("tenant", _tenant),
    Screenshot("audit", _at("/audit")),
    Screenshot("audit-phone", _at("/audit"), phone=True),
    Screenshot("people", _at("/people")),
)


# ------------------------------------------------------------------ how it is taken
def take_screenshot(browser: Browser, shown: Showcase, picture: Screenshot, session: StorageState) -> Path:
    """Take the picture of a page; raises AssertionError for a page with errors or a huge picture."""
    file = FOLDER / f"{picture.name}.png"
    with visit_page(
        browser,
        shown.url,
        scheme=picture.scheme,
        phone=picture.phone,
        session=session if picture.signed_in else None,
    ) as page:
        page.goto(f"/console{picture.path(shown)}")
        picture.prepare(page)
        page.wait_for_load_state("networkidle")
        taken = page.screenshot(animations="disabled")
    if len(taken) > MAX_BYTES:
        raise AssertionError(f"The picture has {len(taken):,} bytes, more than {MAX_BYTES:,}.")
    file.write_bytes(taken)
    return file


def take_screenshots(pictures: Sequence[Screenshot]) -> list[str]:
    """Take these pictures of a new engine; returns a line for each that failed."""
    faults = []
    FOLDER.mkdir(exist_ok=True)
    print("Starting an engine and filling it …")  # noqa: T201  a command
    with (
        run_servers() as stack,
        run_showcase(stack, FULL_SHOWCASE) as shown,
        launch_browser(scrollbars=False) as browser,
    ):
        with visit_page(browser, shown.url) as page:
            sign_in(page, ADMIN)
            session = page.context.storage_state()
        for picture in pictures:
            try:
                file = take_screenshot(browser, shown, picture, session)
            except (AssertionError, Error, LookupError) as error:
                faults.append(f"{picture.name}: {error}")
            else:
                print(f"{file.relative_to(ROOT)}  {file.stat().st_size // 1_000} kB")  # noqa: T201  a command
    return faults


def remove_stale_files() -> list[str]:
    """Delete pictures that are no longer used; returns a line if the rest are too large."""
    files = {FOLDER / f"{picture.name}.png" for picture in SCREENSHOTS}
    for old in set(FOLDER.glob("*.png")) - files:
        old.unlink()
    size = sum(file.stat().st_size for file in FOLDER.glob("*.png"))
    return [f"All pictures have {size:,} bytes."] if size > MAX_TOTAL_BYTES else []


def main() -> None:
    """Take the pictures; exit code 1 if one failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers are not left behind
    parser = argparse.ArgumentParser(prog="python -m tests.support.screenshots", description=__doc__)
    parser.add_argument("--only", default="", help="only pictures whose name has this in it")
    wanted = [picture for picture in SCREENSHOTS if parser.parse_args().only in picture.name]
    faults = take_screenshots(wanted) + remove_stale_files()
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
