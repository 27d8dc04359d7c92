"""A verifier on disk: verifier.json with its plan and threshold, verifier.safetensors with its weights."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from secure.protocols.core.errors import CheckpointError, InputError
from secure.verifier.detector import Detector
from secure.verifier.student import Student, StudentPlan
from secure.verifier.training import untouched

_SETTINGS, _WEIGHTS = "verifier.json", "verifier.safetensors"
_FORMAT = 1


def write_verifier(folder: Path, student: Student, detector: Detector, threshold: float, false_alarms: float) -> None:
    """Write both files, readable by their owner alone: who knows them gets past them.

    Raises InputError for a folder that has files.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InputError(f"{folder} has files already; a verifier is written to an empty or new folder")
    settings = {
        "format": _FORMAT,
        "threshold": threshold,
        "false_alarms": false_alarms,
        "student": asdict(student.plan),
    }
    tensors = {
        f"{part}.{name}": tensor.contiguous()
        for part, network in (("student", student), ("detector", detector))
        for name, tensor in network.state_dict().items()
    }
    for name, content in ((_SETTINGS, json.dumps(settings, indent=1).encode()), (_WEIGHTS, save_tensors(tensors))):
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)


def read_verifier(folder: Path) -> tuple[Student, Detector, float, float]:
    """Network, detector, threshold and rate of false alarms. Raises CheckpointError for files that are none of ours."""
    try:
        settings = json.loads((folder / _SETTINGS).read_bytes())
        tensors = load_tensors((folder / _WEIGHTS).read_bytes())
        if settings["format"] != _FORMAT:
            raise CheckpointError(
                f"{folder}: a verifier of format {settings['format']!r}; this version reads {_FORMAT}: make it again"
            )
        plan = StudentPlan(**settings["student"] | {"shape": tuple(settings["student"]["shape"])})
        student, detector = untouched(lambda: Student(plan)), untouched(lambda: Detector(plan.classes))
        for part, network in (("student", student), ("detector", detector)):
            own = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
            network.load_state_dict({name.removeprefix(f"{part}."): tensor for name, tensor in own.items()})
            network.eval()
        return student, detector, float(settings["threshold"]), float(settings["false_alarms"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: no verifier that can be read: {type(error).__name__}") from None
