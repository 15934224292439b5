"""The HTTP API as a test speaks to it: over a real socket, with the standard library."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen


@dataclass(frozen=True, slots=True)
class Api:
    """One caller of a running engine. Errors are `urllib.error.HTTPError`."""

    url: str
    key: str

    def post(self, path: str, body: object | None = None, **headers: str) -> Any:
        return self._request("POST", path, b"" if body is None else json.dumps(body).encode(), headers)

    def post_bytes(self, path: str, body: bytes) -> Any:
        """Post this JSON text unchanged."""
        return self._request("POST", path, body, {})

    def put(self, path: str, body: object) -> Any:
        return self._request("PUT", path, json.dumps(body).encode(), {})

    def patch(self, path: str, body: object) -> Any:
        return self._request("PATCH", path, json.dumps(body).encode(), {})

    def get(self, path: str) -> Any:
        return self._request("GET", path, None, {})

    def delete(self, path: str) -> Any:
        return self._request("DELETE", path, None, {})

    def list_all(self, path: str) -> list[Any]:
        """All items of a list, page by page."""
        items: list[Any] = []
        separator = "&" if "?" in path else "?"
        page = self.get(f"{path}{separator}limit=100")
        items += page["items"]
        while page["next"]:
            page = self.get(f"{path}{separator}limit=100&cursor={page['next']}")
            items += page["items"]
        return items

    def create_tenant(self, name: str = "Acme") -> Api:
        """A new tenant's own caller; only the operator may ask."""
        tenant_id = self.post("/v1/tenants", {"name": name})["id"]
        return Api(self.url, self.post(f"/v1/tenants/{tenant_id}/keys", {"name": "test"})["key"])

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        request = Request(
            self.url + path,
            data=body,
            method=method,
            headers={
                "Authorization": f"Bearer {self.key}",
                "Content-Type": "application/json",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )
        with urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
