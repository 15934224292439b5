"""Receivers can copy the `signing` folder without the rest of the engine."""

import shutil
import subprocess
import sys
from pathlib import Path

import signing

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from datetime import UTC, datetime
from signing import generate_hmac, sign, verify
now, secret = datetime.now(UTC), generate_hmac(b"s" * 32)
sent = sign([secret], message_id="evt_1", timestamp=now, body=b"{}").to_dict()
verify(sent, b"{}", [generate_hmac(b"o" * 32), secret.reveal()], now=now)
print(sys.modules["signing"].__file__)
print(*{name.partition(".")[0] for name in sys.modules})
"""
ENGINE = {
    "delivery",
    "workers",
    "retries",
    "sqlalchemy",
    "httpx",
    "aiohttp",
    "dramatiq",
    "structlog",
    "asyncio",
}


def test_the_package_verifies_without_the_engine(tmp_path: Path):
    folder = tmp_path / "signing"
    shutil.copytree(Path(signing.__file__).parent, folder)
    message = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    assert message[0] == str(folder / "__init__.py")
    imported = set(message[1].split())
    assert "signing" in imported
    assert imported & ENGINE == set()
