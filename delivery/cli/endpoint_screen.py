"""How an endpoint and its secrets are shown to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.cli.screen import note, print_facts, say
from delivery.cli.wording import delays, exact, length, when, why
from delivery.model import Prefix, show_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.endpoints import NewSecret
    from delivery.model import Endpoint, SealedSecret


def print_endpoint(endpoint: Endpoint, secrets: Sequence[SealedSecret], *, now: datetime) -> None:
    """Print an endpoint's facts; secrets by their key ids."""
    schedule, timeout = endpoint.schedule, endpoint.timeout
    changed = when(endpoint.state_changed_at, now=now)
    because = "" if endpoint.state_reason is None else why(endpoint.state_reason)
    print_facts(
        [
            ("url", endpoint.url),
            ("state", endpoint.state if endpoint.state == "active" else f"{endpoint.state}: since {changed}"),
            ("reason", because),
            ("description", endpoint.description),
            ("filter", " ".join(endpoint.filter)),
            ("headers", ", ".join(endpoint.header_names)),
            ("schedule", "default" if schedule is None else delays(schedule)),
            ("timeout", "default" if timeout is None else length(timeout)),
            ("signatures", endpoint.signature),
            *(("secret", _live(secret, now=now)) for secret in secrets),
            ("made", exact(endpoint.created_at)),
        ],
        title=f"Endpoint {show_id(Prefix.ENDPOINT, endpoint.id)}",
    )


def print_new_secret(made: NewSecret) -> None:
    """Print what receivers verify with: the one time that a secret is told."""
    if made.text is None:
        say(f"Public key: {made.kept.public_key}")
        note("Receivers verify with it. The secret half stays here, sealed.")
        return
    say(f"Secret: {made.text}")
    note("Receivers verify with it. Keep it now: it will not be shown again.")


def _live(secret: SealedSecret, *, now: datetime) -> str:
    until = "signs" if secret.not_after is None else f"signs, ends {when(secret.not_after, now=now)}"
    public = "" if secret.public_key is None else f", {secret.public_key}"
    return f"key {secret.key_id}, {until}{public}"
