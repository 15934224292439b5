"""An engine that gets secrets of every kind, is used in every way, and is searched everywhere."""

from __future__ import annotations

import base64
import json
import re
import secrets
import subprocess
from contextlib import closing
from html import unescape
from typing import Any

import httpx
from sqlalchemy import make_url

from signing import generate_ed25519
from tests.support.receivers import CertificateAuthority
from tests.support.scenario import TIMEOUT_SECONDS
from tests.support.secret_search import MIN_SECRET_LENGTH, Evidence, MarkedSecret, iter_rows_as_text
from tests.support.stack import ROOT, WAYBILL, Stack, wait_until

_LINK = re.compile(r'href="(/console[^"#]*)')
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')
_MAX_PAGES = 150
_FINAL_STATUSES = {"succeeded", "failed", "cancelled"}
EMAIL = "ada@example.com"


def make_marked_secret(label: str) -> str:
    """A secret that nothing else contains by chance."""
    return f"marked-{label}-{secrets.token_hex(12)}"


class SecretsScenario:
    """Tells an engine secrets, uses it, and keeps all that it shows. `secrets`: what must not be in there."""

    def __init__(self, stack: Stack, amqp_password: str, wire: list[bytes]) -> None:
        self.stack = stack
        self.evidence = Evidence()
        self._wire = wire
        self.secrets: list[MarkedSecret] = []
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{stack.port}", timeout=30)
        self._key = ""
        self._tenant = ""
        for name in ("WAYBILL_SECRET_KEYS", "WAYBILL_OPERATOR_KEY"):
            self.register_secret(name, stack.environment[name])
        self.register_secret("password for RabbitMQ", amqp_password, "wire to RabbitMQ")
        password = make_url(stack.database_url).password or ""
        if len(password) >= MIN_SECRET_LENGTH:  # a server of the environment may use `postgres`
            self.register_secret("password of the database", password)

    def register_secret(self, name: str, text: str, *places: str) -> str:
        """Know of a secret from now on."""
        self.secrets.append(MarkedSecret(name, text, frozenset(places)))
        return text

    # ---------------------------------------------------------------- the API
    def call_api(self, method: str, path: str, body: object = None, *, place: str = "", key: str = "") -> Any:
        """Ask the API; keep the answer with its head."""
        # In bytes: a key that is mistyped may be anything.
        headers = {
            b"Authorization": f"Bearer {key or self._key}".encode(),
            b"Content-Type": b"application/json",
        }
        sent = b"" if body is None else json.dumps(body).encode()
        answer = self._client.request(method, path, headers=headers, content=sent)
        self.record_answer(place or f"answer: {method} {re.sub(r'_[0-9a-z]{26}', '', path)}", answer)
        return (
            answer.json()
            if answer.headers.get("content-type") == "application/json" and answer.content
            else None
        )

    def record_answer(self, place: str, answer: httpx.Response) -> None:
        """Keep an answer: body, and head too."""
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.multi_items())
        self.evidence.add(place, f"{answer.status_code}\n{head}\n{answer.text}\n{unescape(answer.text)}")

    def create_tenant(self) -> None:
        """A tenant with a key."""
        operator = self.stack.environment["WAYBILL_OPERATOR_KEY"]
        self._tenant = self.call_api("POST", "/v1/tenants", {"name": "Acme"}, key=operator)["id"]
        path, place = f"/v1/tenants/{self._tenant}/keys", "answer that makes a key"
        self._key = self.call_api("POST", path, {"name": "in use"}, key=operator, place=place)["key"]
        self.register_secret("API key", self._key, place)
        self.call_api("GET", path, key=operator)
        self.call_api("GET", f"/v1/tenants/{self._tenant}", key=operator)

    def create_endpoint(self, label: str, url: str, **more: Any) -> str:
        """An endpoint with a secret and headers of its own; returns its id."""
        place = "answer that makes an endpoint"
        token = self.register_secret(f"custom header of {label}", make_marked_secret("header"))
        body = {"url": url, "headers": {"Authorization": f"Bearer {token}"}, "schedule": [0, 0.2]}
        made = self.call_api("POST", "/v1/endpoints", body | more, place=place)
        # A secret that the client chose is not returned.
        told = made["secret"]
        self.register_secret(f"secret of {label}", told or more["secret"], *([place] if told else []))
        return str(made["id"])

    def make_client_certificate(self) -> dict[str, str]:
        """A client certificate, whose key is a secret from its first line on."""
        chain, key = CertificateAuthority().make_client_certificate("waybill")
        self.register_secret("private key of a client certificate", key.splitlines()[1])
        return {"certificate": chain, "private_key": key}

    def rotate_secrets(self, endpoint: str) -> None:
        """A second secret beside the first, and one more that is brought along."""
        path, place = f"/v1/endpoints/{endpoint}/secrets/rotate", "answer that rotates a secret"
        self.register_secret(
            "rotated secret", self.call_api("POST", path, {"overlap_hours": 1}, place=place)["secret"], place
        )
        own = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        told = self.call_api("POST", path, {"secret": own}, place=place)["secret"]
        self.register_secret("own secret", own, *([place] if told else []))
        self.call_api("GET", f"/v1/endpoints/{endpoint}/secrets")

    def make_mistakes(self, endpoint: str) -> None:
        """Mistakes close to secrets: each is refused, and none is repeated."""
        typed = self.register_secret("mistyped secret", "whsec_" + make_marked_secret("typed") + "?")
        header = self.register_secret("header with a line break", make_marked_secret("split"))
        wrong = self.register_secret("unknown key", "wbk_" + secrets.token_urlsafe(32))
        strangers = self.make_client_certificate() | {
            "certificate": self.make_client_certificate()["certificate"]
        }
        url = "https://shop.example/in"
        bad: tuple[tuple[str, str, object], ...] = (
            ("POST", "/v1/endpoints", {"url": url, "secret": typed}),
            ("POST", "/v1/endpoints", {"url": url, "secret": [typed]}),
            ("POST", "/v1/endpoints", {"url": url, "signature": "v1a", "secret": typed}),
            ("POST", "/v1/endpoints", {"url": url, "headers": {"X-Token": f"{header}\r\nX-B: 1"}}),
            ("POST", "/v1/endpoints", {"url": url, "headers": {"Host": header}}),
            ("POST", "/v1/endpoints", {"url": url, "headers": [header]}),
            ("PATCH", f"/v1/endpoints/{endpoint}", {"headers": {"X-Token": 7, "X-B": f"{header}\0"}}),
            ("PATCH", f"/v1/endpoints/{endpoint}", {"client_certificate": strangers}),
            ("PATCH", f"/v1/endpoints/{endpoint}", {"client_certificate": strangers["private_key"]}),
            ("POST", f"/v1/endpoints/{endpoint}/secrets/rotate", {"secret": typed}),
            ("POST", f"/v1/endpoints/{endpoint}/secrets/rotate", {"secret": typed, "overlap_hours": -1}),
        )
        for method, path, body in bad:
            self.call_api(method, path, body, place="answers to mistakes")
        self.call_api("GET", "/v1/endpoints", key=wrong, place="answers to mistakes")
        self.call_api("GET", "/v1/endpoints", key=wrong + "\u0085ü", place="answers to mistakes")

    def publish_event(self) -> None:
        """An event for every endpoint; wait until nothing is owed."""
        self.call_api("POST", "/v1/events", {"type": "order.created", "data": {"n": 1}})

        def all_ended() -> bool:
            listed = self.call_api("GET", "/v1/deliveries")["items"]
            return bool(listed) and {one["status"] for one in listed} <= _FINAL_STATUSES

        wait_until(all_ended, "every delivery to end", seconds=TIMEOUT_SECONDS)

    def read_everything(self) -> set[str]:
        """Ask for all that the API shows; returns the outcomes that there were."""
        outcomes = set()
        for endpoint in self.call_api("GET", "/v1/endpoints")["items"]:
            for below in ("", "/health", "/secrets", "/events"):
                self.call_api("GET", f"/v1/endpoints/{endpoint['id']}{below}")
        for delivery in self.call_api("GET", "/v1/deliveries")["items"]:
            for below in ("", "/attempts", "/trace"):
                self.call_api("GET", f"/v1/deliveries/{delivery['id']}{below}")
            for attempt in self.call_api("GET", f"/v1/deliveries/{delivery['id']}/attempts")["items"]:
                outcomes.add(attempt["outcome"])
                self.call_api("GET", f"/v1/attempts/{attempt['id']}")
        for event in self.call_api("GET", "/v1/events")["items"]:
            self.call_api("GET", f"/v1/events/{event['id']}")
            self.call_api("GET", f"/v1/events/{event['id']}/trace")
        for path in ("/v1/audit?engine=true", "/v1/replays", "/openapi.json"):
            self.call_api("GET", path)
        for rows in ("deliveries", "attempts"):
            for form in ("jsonl", "csv"):
                self.call_api("GET", f"/v1/exports/{rows}?format={form}&since=2020-01-01T00:00:00Z")
        return outcomes

    # ---------------------------------------------------------------- the console
    def crawl_console(self) -> int:
        """Sign in by password and by a portal link, and open every page; returns how many there were."""
        password = self.register_secret("password of a person", make_marked_secret("password"))
        asked = ("person", "create", EMAIL, "Ada", "--role", "admin", "--password-stdin")
        self.evidence.add("command line", self.stack.run(str(WAYBILL), *asked, stdin=f"{password}\n"))
        typed = self.register_secret("mistyped password", make_marked_secret("typo"))
        self._sign_in("/console/sign-in", {"email": EMAIL, "password": typed}).close()
        with closing(self._sign_in("/console/sign-in", {"email": EMAIL, "password": password})) as admin:
            pages = self._crawl(admin, "admin")
        place = "answer that makes a portal link"
        link = self.call_api("POST", "/v1/portal-links", {"role": "support", "label": "Joe"}, place=place)[
            "url"
        ]
        token = self.register_secret("portal link", link.rpartition("/")[2], place)
        self._client.get(f"/console/portal/{token}")
        with closing(self._sign_in(f"/console/portal/{token}", {})) as partner:
            return pages + self._crawl(partner, "partner")

    def _sign_in(self, path: str, form: dict[str, str]) -> httpx.Client:
        browser = httpx.Client(base_url=self._client.base_url, timeout=30)
        answer = browser.post(path, data=form)
        for token in filter(None, browser.cookies.values()):
            self.register_secret("session", token, "cookie of a session")
        if browser.cookies:  # the one answer that sets it
            self.evidence.add("cookie of a session", answer.headers["set-cookie"])
            self.evidence.add("page that lets in", answer.text)
        else:
            self.record_answer("page that lets nobody in", answer)
        return browser

    def _crawl(self, browser: httpx.Client, who: str) -> int:
        seen, todo = set[str](), ["/console"]
        while todo:
            path = todo.pop()
            shape = re.sub(r"_[0-9a-z]{26}", "", path.partition("?")[0])
            if path in seen or len(seen) >= _MAX_PAGES:
                continue
            seen.add(path)
            page = browser.get(path)
            assert page.status_code < 500, (path, page.text)
            self.record_answer(f"page for {who}: {shape}", page)
            todo += [unescape(found) for found in _LINK.findall(page.text) if "/static/" not in found]
        return len(seen)

    # ---------------------------------------------------------------- what is left behind
    def run_misconfigured(self) -> None:
        """Start processes with settings that are wrong next to a secret."""
        keys, key = make_marked_secret("keys"), "short-key-wbo"
        self.register_secret("malformed WAYBILL_SECRET_KEYS", keys)
        url = self.stack.environment["WAYBILL_DATABASE_URL"]
        away = make_url(url).set(port=9).render_as_string(hide_password=False)
        for changed in (
            {"WAYBILL_SECRET_KEYS": keys},
            {"WAYBILL_OPERATOR_KEY": key},
            {"WAYBILL_AMQP_URL": self.stack.environment["WAYBILL_AMQP_URL"].replace("amqp:", "http:")},
            {"WAYBILL_DATABASE_URL": away},
            {"WAYBILL_DATABASE_URL": url.replace("postgresql", "mysql")},
        ):
            done = subprocess.run(
                [WAYBILL, "tenant", "list"],
                cwd=ROOT,
                env=self.stack.environment | changed,
                capture_output=True,
                check=False,
                text=True,
            )
            self.evidence.add("command line", done.stdout + done.stderr)

    def close(self) -> None:
        """Ask nothing more."""
        self._client.close()

    def collect_evidence(self) -> None:
        """Stop the engine and keep what it has logged, and what its database holds."""
        names = self.stack.running
        self.stack.stop()
        for name in names:
            self.evidence.add(f"log of {name}", self.stack.read_log(name))
        self.evidence.add("wire to RabbitMQ", b"".join(self._wire))
        for table, row in iter_rows_as_text(self.stack.database_url):
            self.evidence.add(f"table {table}", row)


def make_v1a_secret() -> str:
    """A secret for `v1a` that a tenant brings along."""
    return generate_ed25519(secrets.token_bytes(32)).reveal()
