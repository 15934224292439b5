"""The programs of the guide for receivers, taken from the page as they are printed, and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = ROOT / "docs/receive.md"
_SNIPPET = re.compile(r"^<!-- snippet: (\S+) -->\n```\S+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HERE = Path(__file__).parent
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Language:
    """How a snippet is made to run: where it and its driver go, what builds them, and what is then run.

    `compares` is what the language has for comparing in constant time.
    """

    name: str
    runtime: str
    file: str
    driver: str
    run: tuple[str, ...]
    constant_time_compare: str
    build: tuple[str, ...] = ()

    @property
    def is_installed(self) -> bool:
        """Whether its runtime is on this machine."""
        return shutil.which(self.runtime) is not None


LANGUAGES = (
    Language(
        "python",
        sys.executable,
        "snippet.py",
        "driver.py",
        (sys.executable, "driver.py"),
        "hmac.compare_digest(",
    ),
    Language("javascript", "node", "snippet.mjs", "driver.mjs", ("node", "driver.mjs"), "timingSafeEqual("),
    Language(
        "go",
        "go",
        "webhook/verify.go",
        "driver.go",
        ("./driver",),
        "hmac.Equal(",
        build=("go", "build", "-o", "driver", "."),
    ),
    Language("ruby", "ruby", "snippet.rb", "driver.rb", ("ruby", "driver.rb"), "OpenSSL.secure_compare("),
    Language("php", "php", "snippet.php", "driver.php", ("php", "driver.php"), "hash_equals("),
    Language(
        "java",
        "javac",
        "Webhook.java",
        "Driver.java",
        ("java", "Driver"),
        "MessageDigest.isEqual(",
        build=("javac", "Driver.java"),
    ),
    Language("shell", "openssl", "snippet.sh", "driver.sh", ("bash", "driver.sh"), 'hmac "$moment"'),
)


def load_snippets() -> Mapping[str, str]:
    """The programs on the page, by the name of their language."""
    return dict(_SNIPPET.findall(PAGE.read_text()))


@dataclass(frozen=True, slots=True)
class Program:
    """A snippet that is ready to run."""

    folder: Path
    language: Language

    def run_verification(self, key: str, headers: Mapping[str, str], body: bytes) -> str:
        """`verified`, or the reason that it gives; any other end is an AssertionError."""
        values = [headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")]
        ended = subprocess.run(
            [*self.language.run, key, *values],
            cwd=self.folder,
            input=body,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        said = ended.stdout.decode().strip()
        assert ended.stderr == b"", ended.stderr.decode()
        assert (ended.returncode, bool(said)) in {(0, False), (1, True)}, (ended.returncode, said)
        return said or "verified"


def prepare_program(language: Language, folder: Path) -> Program:
    """Write a language's snippet and its driver into a folder, and build them where that is needed."""
    snippet = folder / language.file
    snippet.parent.mkdir(exist_ok=True)
    snippet.write_text(load_snippets()[language.name])
    shutil.copy(_HERE / language.driver, folder)
    if language.name == "go":
        (folder / "go.mod").write_text("module guide\n\ngo 1.19\n")
    if language.build:
        subprocess.run(
            language.build,
            cwd=folder,
            env=os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOPROXY": "off"},
            check=True,
            timeout=_TIMEOUT_SECONDS,
        )
    return Program(folder, language)
