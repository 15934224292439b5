"""The embedded PostgreSQL: the wheel's programs, run directly, in one folder, on loopback only.

The wheel's Python is not used: as root it adds a user to the system and loosens permissions of folders.
Linux only: `setpriv` (util-linux) drops root, and ends the server together with us.
"""

from delivery.embedded.errors import AlreadyRunning, DidNotStart, FolderUnusable, WheelMissing
from delivery.embedded.server import EmbeddedPostgres, start

__all__ = ["AlreadyRunning", "DidNotStart", "EmbeddedPostgres", "FolderUnusable", "WheelMissing", "start"]
