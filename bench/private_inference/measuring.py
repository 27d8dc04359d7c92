"""Constants of a model, by real parties: what one making and one answer from stock take."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from bench.private_inference.constants import Garbler
from bench.private_inference.services import DESCRIPTIONS, Name, Service, running

Result = TypeVar("Result")
INCLUDES = (
    "processes of their own on one machine, gRPC with mutual TLS; seconds at the caller, medians; processor seconds of "
    "whole processes, messages included; what is kept as it lies on the disk"
)
EXCLUDES = "starting the processes, loading the model, one making and one answer before"


def measure(name: Name, turns: int, garbler: Garbler = "client") -> dict[str, Any]:
    """So many makings, one after another, then an answer with each. Returns the record."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, running(name, Path(folder), garbler) as service:
        return {"kind": "inference-constants", "turns": turns, "load_average": load} | constants_of(
            service, name, turns, garbler
        )


def constants_of(service: Service, name: Name, turns: int, garbler: Garbler) -> dict[str, Any]:
    """The part of the record that is of the parties. After it their stocks are empty."""
    service.fill()
    service.answer()
    made, making = _several(service, service.fill, turns)
    kept = service.kept_bytes()
    answers, answering = _several(service, service.answer, turns)
    if not all(answer.hit for answer in answers):
        raise ValueError("an answer did not come from stock")
    last = answers[-1]
    return {
        "what": name,
        "model": DESCRIPTIONS[name],
        "protocol": service.protocol,
        "garbler": garbler if service.protocol == "hybrid" else None,
        "includes": INCLUDES,
        "excludes": EXCLUDES,
        "offline": _phase(made, making, last.made_bytes, last.made_rounds),
        "online": _phase([answer.seconds for answer in answers], answering, last.online_bytes, last.rounds),
        "kept_bytes": kept,
    }


def _several(service: Service, do: Callable[[], Result], turns: int) -> tuple[list[Result], dict[str, float]]:
    """What each turn gives, and the processor seconds of one, by process."""
    before = service.processor_seconds()
    found = [do() for _ in range(turns)]
    after = service.processor_seconds()
    return found, {role: (after[role] - before[role]) / turns for role in after}


def _phase(
    seconds: list[float], core_seconds: Mapping[str, float], sent: Mapping[str, int], rounds: int
) -> dict[str, Any]:
    return {
        "seconds": [round(value, 4) for value in seconds],
        "median_seconds": statistics.median(seconds),
        "core_seconds": {role: round(value, 4) for role, value in core_seconds.items()},
        "sent_bytes": dict(sent),
        "rounds": rounds,
    }
