"""The device that computes, and bytes between it and the host. On the CPU nothing is copied.

A graphics card is reached by way of pinned memory: one copy in each direction, which does not hold up the host on the
way in. What is sent is packed to its width on the card before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import ConfigurationError

CPU = torch.device("cpu")


def find_device(name: str) -> torch.device:
    """The device of a name: cpu, cuda, cuda:1. Raises ConfigurationError when this PyTorch has no such device."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"unknown device {name!r}; use cpu, cuda or cuda:1") from None
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise ConfigurationError(f"device {name} is not there: this PyTorch sees {torch.cuda.device_count()} cards")
    if device.type not in ("cpu", "cuda"):
        raise ConfigurationError(f"device {name!r} is not supported; use cpu or cuda")
    return device


def host_bytes(count: int, device: torch.device) -> Tensor:
    """Room for bytes that are to go to the device, or come from it. Shapes: uint8 [count], on the host."""
    return torch.empty(count, dtype=torch.uint8, pin_memory=device.type == "cuda")


def to_device(host: Tensor, device: torch.device) -> Tensor:
    """What `host_bytes` gave, written to and now on the device. It must not be written to again."""
    return host.to(device, non_blocking=True)


def received(payload: Payload, device: torch.device) -> Tensor:
    """A message's bytes on the device. Shapes: -> uint8 [n]."""
    host = host_bytes(len(payload), device)
    host.numpy()[:] = np.frombuffer(payload, dtype=np.uint8)
    return to_device(host, device)


def payload_of(parts: Sequence[Tensor]) -> memoryview:
    """A message of parts one after the other. Shapes: uint8 [n] each, all on one device."""
    raw = parts[0] if len(parts) == 1 else torch.cat(list(parts))
    if raw.device.type == "cuda":
        host = host_bytes(raw.numel(), raw.device)
        host.copy_(raw, non_blocking=True)
        torch.cuda.current_stream(raw.device).synchronize()
        raw = host
    return raw.numpy().data
