"""The embedded PostgreSQL: the wheel's own programs, run directly, in one folder, on loopback alone.

The wheel's Python is left aside: as root it adds a user to the system and loosens other people's folders.
Linux only: `setpriv` (util-linux) steps down from root and ties the server's life to ours.
"""

from delivery.embedded.errors import AlreadyRunning, DidNotStart, FolderUnusable, WheelMissing
from delivery.embedded.server import EmbeddedPostgres, start

__all__ = ["AlreadyRunning", "DidNotStart", "EmbeddedPostgres", "FolderUnusable", "WheelMissing", "start"]
