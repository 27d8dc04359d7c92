"""What a record of the card must say to be repeated, beside what every record says."""

from __future__ import annotations

import subprocess
from typing import Any

import torch

from bench import results

_PACKAGES = ("torch", "numpy", "numba", "cryptography", "triton")


def environment(command: str, device: torch.device) -> dict[str, Any]:
    """Everything that does not depend on what was measured."""
    on_card = device.type == "cuda"
    common = results.environment(command, _PACKAGES)
    common["versions"]["cuda"] = torch.version.cuda or "none"
    return common | {
        "device": torch.cuda.get_device_name(device) if on_card else f"CPU ({results.processor()})",
        "card": _card(device) if on_card else None,
    }


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
