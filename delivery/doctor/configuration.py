"""Check the settings: which cannot be used, which are misspelled, and which are risky."""

from __future__ import annotations

from difflib import get_close_matches
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from delivery.bootstrap import check_egress_address, check_tracing_available, require_secret_keys
from delivery.config import ENV_PREFIX, list_settings
from delivery.doctor.findings import fail, ok, warn
from delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from delivery.config import Settings
    from delivery.doctor.findings import Finding
    from delivery.domain.networks import Network

# Only commands read these.
_CLI_VARIABLES: Final = frozenset({"WAYBILL_TENANT"})
_PRIVATE_NETWORKS: Final = tuple(
    map(ip_network, ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"))
)


def check_settings(settings: Settings, environment: Iterable[str]) -> list[Finding]:
    """Check the settings; `environment` holds the names of the variables that are set."""
    findings = [*_find_unusable(settings), *_find_unknown(environment), *_find_risky(settings)]
    return findings or [ok("settings", "All settings can be used.")]


def _find_unusable(settings: Settings) -> Iterator[Finding]:
    for check in (require_secret_keys, check_egress_address, check_tracing_available):
        try:
            check(settings)
        except Misconfigured as error:
            yield fail("settings", str(error), "Correct this variable and restart every process.")


def _find_unknown(environment: Iterable[str]) -> Iterator[Finding]:
    known = {info.variable for info in list_settings()} | _CLI_VARIABLES
    for name in sorted(environment):
        if name.startswith(ENV_PREFIX) and name not in known:
            close = get_close_matches(name, known, n=1)
            question = f" Did you mean {close[0]}?" if close else ""
            yield warn(
                "settings", f"{name} is not a setting and has no effect.{question}", "Correct or unset it."
            )


def _find_risky(settings: Settings) -> Iterator[Finding]:
    if settings.attempt_timeout > settings.max_attempt_duration:
        timeout = settings.attempt_timeout.total_seconds()
        longest = settings.max_attempt_duration.total_seconds()
        yield warn(
            "settings",
            f"WAYBILL_ATTEMPT_TIMEOUT is {timeout:g} s, but attempts end after {longest:g} s, "
            "so that they fit into their lease.",
            "Raise WAYBILL_LEASE_SECONDS, or lower WAYBILL_ATTEMPT_TIMEOUT.",
        )
    if settings.operator_key is None:
        yield warn(
            "settings",
            "WAYBILL_OPERATOR_KEY is not set: nobody can create tenants over the API.",
            "Set it, unless tenants are only created with `waybill tenant create`.",
        )
    internal = [str(network) for network in settings.allow_networks.networks if _is_internal(network)]
    if internal:
        yield warn(
            "settings",
            f"WAYBILL_ALLOW_NETWORKS lets endpoints reach {', '.join(internal)}: whoever may create "
            "an endpoint can send requests there.",
            "Remove the networks that hold no receivers.",
        )
    if settings.allow_http:
        yield warn(
            "settings",
            "WAYBILL_ALLOW_HTTP is on: events may be sent unencrypted.",
            "Turn it off, unless every receiver is inside your own network.",
        )


def _is_internal(network: Network) -> bool:
    if network.version == 6:  # noqa: PLR2004  the protocol's own number
        return not network.is_global
    return any(network.overlaps(private) for private in _PRIVATE_NETWORKS)
