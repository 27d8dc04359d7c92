"""Results on disk: one JSON file for each measurement, with what is needed to repeat it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
SCHEMA = 1
# What results themselves change does not count.
_CHANGES = ("status", "--porcelain", "-uno", "--", ".", ":!bench/results", ":!README.md")
_PACKAGES = ("torch", "numba", "numpy", "grpcio", "protobuf", "cryptography", "transformers")


def environment() -> dict[str, Any]:
    """Machine, commit, command and versions."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m bench " + " ".join(sys.argv[1:]),
        "commit": _git("rev-parse", "HEAD") + ("+changes" if _git(*_CHANGES) else ""),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def save(name: str, record: dict[str, Any]) -> Path:
    """Write bench/results/NAME.json, replacing an older result of the same name."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({"schema": SCHEMA} | environment() | record, indent=1) + "\n", encoding="utf-8")
    return path


def load_all() -> list[dict[str, Any]]:
    """Every result, by file name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]


def _git(*arguments: str) -> str:
    found = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=FOLDER.parent.parent, check=False)
    return found.stdout.strip() or "unknown" if arguments[0] == "rev-parse" else found.stdout.strip()


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    found = {name.strip(): value.strip() for name, value in fields.items()}
    return f"{found.get('model name', 'unknown')} family {found.get('cpu family')} model {found.get('model')}"
