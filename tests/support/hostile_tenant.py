"""A tenant and a receiver that wish whoever reads the ledger ill: all that they may write is scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.webhook_partner import CannedResponse

if TYPE_CHECKING:
    from tests.support.webhook_partner import ReceivedCall

PATH = "/hostile"
SCRIPT = "<script>alert(1)</script>"
IMAGE = "\"><img src=x onerror='alert(2)'>"
TEMPLATE = "{{ 7 * 7 }}${7*7}{% raise %}"
# Turns the direction of what is written after it; and a word that no line can hold.
BIDI_TEXT, LONG_WORD = "\u202egnp.exe", "W" * 180
NAME = f"{SCRIPT} & Söhne {IMAGE}"
DESCRIPTION = f"{IMAGE} {SCRIPT} {TEMPLATE} {BIDI_TEXT} {LONG_WORD}"
REASON = f"because {SCRIPT} {IMAGE} {TEMPLATE}"
KEY = "\"><script>alert('key')</script>"

_HEADERS = (
    "Content-Type: text/html",
    f"X-Note: {SCRIPT}",
    f"X-Quote: {IMAGE}",
    "Refresh: 0;url=https://elsewhere.example/",
    "Content-Security-Policy: default-src *",
)
_BODY = f"<html><body onload='alert(3)'>{SCRIPT}{IMAGE}</textarea></pre>{SCRIPT}\x00\x1b[31m\ufffe".encode()


def refuse_with_scripts(_call: ReceivedCall, times: int, delay: float) -> CannedResponse:
    """Refuse, with scripts in headers and body; at first in one that is no text."""
    return CannedResponse(500, delay, _HEADERS, _BODY if times > 1 else _BODY + b"\xff\xfe")


def make_hostile_events() -> list[dict[str, Any]]:
    """What happened, says this tenant."""
    told = {"name": SCRIPT, "quote": IMAGE, IMAGE: "a key", "link": "javascript:alert(4)", "word": LONG_WORD}
    return [
        {"type": "script.alert_1", "data": told},
        {
            "type": "constructor.__proto__",
            "data": {"__proto__": {"polluted": True}, "text": f"</script>{SCRIPT}"},
        },
        {"type": "script.alert_1", "data": f"{TEMPLATE}{SCRIPT}\u2028\u2029{BIDI_TEXT}"},
    ]


def make_hostile_endpoint(url: str) -> dict[str, Any]:
    """An endpoint that is described with scripts; what it is sent fails at once."""
    return {
        "url": f"{url}?q={{{{7*7}}}}&quot='%3Cscript%3Ealert(5)%3C/script%3E",
        "description": DESCRIPTION,
        "filter": ["*"],
        "schedule": [0],
        "headers": {"X-Script": SCRIPT},
    }
