"""Results on disk: one JSON file for each measurement, with what is needed to repeat it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
SCHEMA = 1
_WRITTEN = (
    "bench/results",
    "bench/RESULTS.md",
    "bench/plots",
    "README.md",
    "docs/measured.md",
    "secure/ee/files/red_team.json",
)
"""What measurements and reports write themselves: changes there do not count."""
_CHANGES = ("status", "--porcelain", "-uno", "--", ".", *(f":!{path}" for path in _WRITTEN))
_PACKAGES = ("torch", "numba", "numpy", "grpcio", "protobuf", "cryptography", "transformers")


def environment(command: str | None = None, packages: Sequence[str] = _PACKAGES) -> dict[str, Any]:
    """Machine, commit, command (the one that runs, unless another is given) and versions.

    Where there is no git, the variable COMMIT may say the commit. A package that is missing is said to be.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command or "python -m bench " + " ".join(sys.argv[1:]),
        "commit": os.environ.get("COMMIT") or commit(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": system(),
        },
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in packages},
    }


def save(name: str, record: dict[str, Any]) -> Path:
    """Write bench/results/NAME.json, replacing an older result of the same name."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({"schema": SCHEMA} | environment() | record, indent=1) + "\n", encoding="utf-8")
    return path


def load(name: str) -> dict[str, Any]:
    """An earlier result. Raises FileNotFoundError where there is none."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def load_all() -> list[dict[str, Any]]:
    """Every result, by file name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]


@cache
def commit() -> str:
    """The commit that is checked out, with a mark where files differ from it; 'unknown' without git.

    As it was when first asked: a long run asks at its start, for files may change while it goes on.
    """
    try:
        return _git("rev-parse", "HEAD") + ("+changes" if _git(*_CHANGES) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def system() -> str:
    """The system with its version, and the C library's. What else a release is called names one machine's own build."""
    version = re.match(r"\d+(\.\d+)?", platform.release())
    name = f"{platform.system()} {version[0]}" if version else platform.system()
    return ", ".join((name, platform.machine(), " ".join(platform.libc_ver()).strip())).removesuffix(", ")


def processor() -> str:
    """The processor's name, family and model, as far as the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return f"{found.get('model name', 'unknown')} family {found.get('cpu family')} model {found.get('model')}"


def _git(*arguments: str) -> str:
    found = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=FOLDER.parent.parent, check=True)
    return found.stdout.strip()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
