"""Headers, errors and static files of the console."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import httpx
import pytest
import structlog

from delivery.console.app import create_console
from delivery.console.web import assets
from delivery.console.web.middleware import SECURITY_HEADERS
from delivery.domain.errors import Unavailable
from tests.support.services import replace_services
from workers.processes.web import WebApp

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from delivery.bootstrap import Services
    from delivery.services.deliveries import DeliveryService
    from tests.integration.console.conftest import FormBrowser


@pytest.mark.parametrize(
    "path", ["/console", "/console/sign-in", "/console/nothing", "/console/static/console.css", "/"]
)
async def test_every_response_has_security_headers(staff: FormBrowser, path: str) -> None:
    answer = await staff.client.get(path)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value


async def test_csp_allows_nothing_inline(staff: FormBrowser) -> None:
    policy = (await staff.get("")).headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")


async def test_no_page_has_inline_scripts_or_styles(staff: FormBrowser) -> None:
    for path in ("", "/deliveries", "/endpoints", "/replays", "/types", "/audit", "/tenants"):
        page = await staff.get_text(path)
        assert " style=" not in page
        assert " onclick=" not in page
        assert "<script>" not in page


async def test_pages_are_not_cached_but_static_files_are(staff: FormBrowser) -> None:
    assert (await staff.get("/deliveries")).headers.get("cache-control", "no-store") == "no-store"
    lasting = await staff.client.get(assets.build_asset_url("console.css"))
    assert "immutable" in lasting.headers["cache-control"]
    passing = await staff.client.get("/console/static/console.css?old")
    assert passing.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.css", "..%2fapp.py", "__init__.py", "%00"])
async def test_only_known_static_files_are_served(staff: FormBrowser, name: str) -> None:
    assert (await staff.client.get(f"/console/static/{name}")).status_code == 404


async def test_root_redirects_to_the_console(staff: FormBrowser) -> None:
    answer = await staff.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/console")


@pytest.mark.parametrize(
    "path",
    [
        "/deliveries/dlv_1",
        "/deliveries/evt_01kasw8qbefy09m6sc7n75yr3h",
        "/deliveries/dlv_01kasw8qbefy09m6sc7n75yr3h",
        "/events/evt_01kasw8qbefy09m6sc7n75yr3h",
        "/attempts/att_01kasw8qbefy09m6sc7n75yr3h",
        "/deliveries?tenant=ten_1",
        "/nothing/at/all",
    ],
)
async def test_missing_object_shows_a_404_page(staff: FormBrowser, path: str) -> None:
    answer = await staff.client.get(f"/console{path}")
    assert answer.status_code == 404
    assert 'id="problem"' in answer.text


async def test_too_many_fields_are_refused(staff: FormBrowser) -> None:
    answer = await staff.client.get("/console/deliveries?" + "&".join(f"a{n}=1" for n in range(300)))
    assert answer.status_code == 422


async def test_failed_partial_request_shows_the_error_in_place(staff: FormBrowser) -> None:
    answer = await staff.client.get("/console/deliveries/dlv_1", headers={"HX-Request": "true"})
    assert answer.status_code == 404
    assert answer.headers["hx-retarget"] == "#notice"


class _Broken:
    """Services that fail unexpectedly, or because the ledger is unavailable."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def list_deliveries(self, *_: Any, **__: Any) -> None:
        raise self._error


async def _ask(services: Services, staff: FormBrowser, error: Exception) -> httpx.Response:
    broken = replace_services(services, deliveries=cast("DeliveryService", _Broken(error)))
    api = create_console(services)  # not asked for anything here
    transport = httpx.ASGITransport(
        app=WebApp.from_apps(api, create_console(broken)), raise_app_exceptions=False
    )
    cookies = {"waybill_session": staff.token}
    async with httpx.AsyncClient(transport=transport, base_url="http://waybill", cookies=cookies) as client:
        return await client.get("/console/deliveries")


async def test_unexpected_error_page_shows_the_logged_request_id(
    services: Services, sign_in_as: Callable[..., FormBrowser]
) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = await _ask(services, sign_in_as(), RuntimeError("a secret of ours"))
    assert answer.status_code == 500
    assert "a secret of ours" not in answer.text
    (line,) = [line for line in logged if line["event"] == "request.failed"]
    assert line["request_id"] in answer.text


async def test_pages_report_an_unavailable_database(
    services: Services, sign_in_as: Callable[..., FormBrowser]
) -> None:
    answer = await _ask(services, sign_in_as(), Unavailable("away"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "The database does not answer" in answer.text
