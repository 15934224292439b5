"""The pictures of the console in docs/console, taken anew: `make screenshots`, or `… ARGS="--only replay"`.

A real engine with a showcase is visited with a real browser. A page in trouble is no picture.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from playwright.sync_api import Error

from tests.support.browser import running_browser, sign_in, visiting
from tests.support.places import open_attempt
from tests.support.showcase import FULL, Showcase, showing
from tests.support.stack import ROOT, running_servers
from tests.support.staff import ADMIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Page, StorageState

    from tests.support.browser import Scheme

FOLDER = ROOT / "docs" / "console"
LARGEST, LARGEST_IN_ALL = 250_000, 4_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: its file's name, which page it shows, and what is done there before it is taken."""

    name: str
    path: Callable[[Showcase], str]
    act: Callable[[Page], None] = lambda _page: None
    scheme: Scheme = "light"
    phone: bool = False
    signed_in: bool = True


# ------------------------------------------------------------------ what is shown
def _at(path: str) -> Callable[[Showcase], str]:
    return lambda _shown: path


def _failed(shown: Showcase) -> str:
    return f"/deliveries/{shown.delivery('bramble/clicks', status='failed')}"


def _retried(shown: Showcase) -> str:
    return f"/deliveries/{shown.delivery('lumen/consents', status='succeeded', attempts_min='2')}"


def _held(shown: Showcase) -> str:
    return f"/deliveries/{shown.delivery('northwind/erp', status='pending')}"


def _endpoint(name: str, move: str = "") -> Callable[[Showcase], str]:
    return lambda shown: f"/endpoints/{shown.endpoints[name]}{move}"


def _replay(name: str) -> Callable[[Showcase], str]:
    return lambda shown: f"/replays/{shown.replays[name]}"


def _preview(shown: Showcase) -> str:
    tenant, clicks = shown.owners["bramble"].id, shown.endpoints["bramble/clicks"]
    return f"/replays/new?tenant={tenant}&endpoint={clicks}&status=failed"


def _tenant(shown: Showcase) -> str:
    return f"/tenants/{shown.owners['northwind'].id}"


PICTURES = (
    Picture("sign-in", _at("/sign-in"), signed_in=False),
    Picture("overview", _at("")),
    Picture("overview-dark", _at(""), scheme="dark"),
    Picture("overview-phone", _at(""), phone=True),
    Picture("deliveries", _at("/deliveries")),
    Picture("deliveries-failed-dark", _at("/deliveries?status=failed&since=24h"), scheme="dark"),
    Picture("deliveries-phone", _at("/deliveries"), phone=True),
    Picture("delivery-failed", _failed),
    Picture("delivery-retried", _retried, open_attempt),
    Picture("delivery-held-dark", _held, scheme="dark"),
    Picture("delivery-phone", _retried, phone=True),
    Picture("endpoints", _at("/endpoints")),
    Picture("endpoint", _endpoint("northwind/warehouse")),
    Picture("endpoint-breaker-open-dark", _endpoint("northwind/erp"), scheme="dark"),
    Picture("endpoint-secrets", _endpoint("lumen/analytics")),
    Picture("endpoint-resume", _endpoint("northwind/returns", "/resume")),
    Picture("endpoint-phone", _endpoint("northwind/warehouse"), phone=True),
    Picture("replays", _at("/replays")),
    Picture("replay-preview", _preview),
    Picture("replay-paused", _replay("northwind/warehouse")),
    Picture("replay-finished-dark", _replay("northwind/billing"), scheme="dark"),
    Picture("event-types", _at("/types")),
    Picture("tenants", _at("/tenants")),
    Picture("tenant", _tenant),
    Picture("audit", _at("/audit")),
    Picture("audit-phone", _at("/audit"), phone=True),
    Picture("people", _at("/people")),
)


# ------------------------------------------------------------------ how it is taken
def take(browser: Browser, shown: Showcase, picture: Picture, session: StorageState) -> Path:
    """Visit a page and take its picture; raises AssertionError for a page in trouble or a huge picture."""
    file = FOLDER / f"{picture.name}.png"
    with visiting(
        browser,
        shown.url,
        scheme=picture.scheme,
        phone=picture.phone,
        session=session if picture.signed_in else None,
    ) as page:
        page.goto(f"/console{picture.path(shown)}")
        picture.act(page)
        page.wait_for_load_state("networkidle")
        taken = page.screenshot(animations="disabled")
    if len(taken) > LARGEST:
        raise AssertionError(f"The picture has {len(taken):,} bytes, more than {LARGEST:,}.")
    file.write_bytes(taken)
    return file


def take_all(pictures: Sequence[Picture]) -> list[str]:
    """Take these pictures of a fresh engine; returns what went wrong, a line for each that was not taken."""
    faults = []
    FOLDER.mkdir(exist_ok=True)
    print("Starting an engine and filling it …")  # noqa: T201  a command
    with (
        running_servers() as stack,
        showing(stack, FULL) as shown,
        running_browser(scrollbars=False) as browser,
    ):
        with visiting(browser, shown.url) as page:
            sign_in(page, ADMIN)
            session = page.context.storage_state()
        for picture in pictures:
            try:
                file = take(browser, shown, picture, session)
            except (AssertionError, Error, LookupError) as error:
                faults.append(f"{picture.name}: {error}")
            else:
                print(f"{file.relative_to(ROOT)}  {file.stat().st_size // 1_000} kB")  # noqa: T201  a command
    return faults


def tidy_up() -> list[str]:
    """Take away pictures of pages that are not shown any more; returns a line if the rest is too much."""
    files = {FOLDER / f"{picture.name}.png" for picture in PICTURES}
    for old in set(FOLDER.glob("*.png")) - files:
        old.unlink()
    size = sum(file.stat().st_size for file in FOLDER.glob("*.png"))
    return [f"All pictures have {size:,} bytes."] if size > LARGEST_IN_ALL else []


def main() -> None:
    """Take the pictures; exit code 1 if one could not be taken."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers are not left behind
    parser = argparse.ArgumentParser(prog="python -m tests.support.screenshots", description=__doc__)
    parser.add_argument("--only", default="", help="only pictures whose name has this in it")
    wanted = [picture for picture in PICTURES if parser.parse_args().only in picture.name]
    faults = take_all(wanted) + tidy_up()
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
