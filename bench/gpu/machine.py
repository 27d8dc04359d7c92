"""What a record must say to be repeated: machine, card, versions, commit, command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
_PACKAGES = ("torch", "numpy", "numba", "cryptography", "triton")
_CHANGES = ("status", "--porcelain", "-uno", "--", ".", ":!bench/results", ":!README.md")


def environment(command: str, device: torch.device) -> dict[str, Any]:
    """Everything that does not depend on what was measured. A package that is missing is said to be."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "commit": os.environ.get("COMMIT") or commit(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({_processor()})",
        "card": _card(device) if device.type == "cuda" else None,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), "cuda": torch.version.cuda or "none"}
        | {name: _version(name) for name in _PACKAGES},
    }


def commit() -> str:
    """The commit that is checked out, with a mark where files differ from it; 'unknown' without git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+changes" if _git(*_CHANGES) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()


def _card(device: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "compute_capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "driver": _driver(),
    }


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = (line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.machine()
