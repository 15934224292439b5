"""The folder of the embedded engine: its keys, and how commands find the engine that runs.

A command that finds no WAYBILL_DATABASE_URL looks here, so that `waybill tenant create` works beside
`make up` with no configuration at all.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from delivery.domain.errors import Misconfigured
from delivery.domain.secret_box import generate_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from delivery.config import Settings

DEFAULT_STATE_DIR = Path(".waybill")
# The first account of the console.
FIRST_ADMIN_EMAIL = "admin@localhost"


@dataclass(frozen=True, slots=True)
class StateDir:
    """A folder that only its owner can read."""

    folder: Path

    @classmethod
    def from_settings(cls, settings: Settings) -> StateDir:
        """The folder that the settings name, or `.waybill` here."""
        return cls((settings.data_dir or DEFAULT_STATE_DIR).absolute())

    @property
    def _running_file(self) -> Path:
        return self.folder / "running.json"

    def prepare_keys(self) -> dict[str, str]:
        """Create the folder and its keys on first use, and return them as settings. Raises Misconfigured."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return {
                "secret_keys": self._load_or_create("secret-keys", generate_key),
                "operator_key": self._load_or_create(
                    "operator-key", lambda: f"wbo_{secrets.token_urlsafe(32)}"
                ),
            }
        except OSError as error:
            raise self._build_unusable_error(error) from error

    def load_console_password(self) -> str:
        """The password of the first account, created on first use. Raises Misconfigured."""
        try:
            return self._load_or_create("console-password", lambda: secrets.token_urlsafe(18))
        except OSError as error:
            raise self._build_unusable_error(error) from error

    def write_running_settings(self, settings: Mapping[str, str]) -> None:
        """Record the settings of the running engine."""
        self._write(self._running_file, json.dumps({"pid": os.getpid(), "settings": dict(settings)}))

    def remove_running_settings(self) -> None:
        """Record that the engine no longer runs."""
        self._running_file.unlink(missing_ok=True)

    def read_running_settings(self) -> dict[str, str]:
        """The settings of the engine that runs from this folder; empty when none does."""
        try:
            record = json.loads(self._running_file.read_text())
            os.kill(int(record["pid"]), 0)
        except (OSError, ValueError, KeyError):
            return {}
        return dict(record["settings"])

    def _build_unusable_error(self, error: OSError) -> Misconfigured:
        return Misconfigured(
            f"The folder {self.folder} cannot be used: {error.strerror}. WAYBILL_DATA_DIR names another."
        )

    def _load_or_create(self, name: str, make: Callable[[], str]) -> str:
        path = self.folder / name
        if not path.exists():
            self._write(path, make() + "\n")
        return path.read_text().strip()

    def _write(self, path: Path, content: str) -> None:
        partial = path.with_name(path.name + ".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        partial.replace(path)
