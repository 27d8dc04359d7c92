"""Finished seeds of a measurement that goes on after an interruption."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.data.labelled import Labelled

_CHECKOUT = Path(__file__).parents[2]
KEPT = _CHECKOUT / "bench" / "out" / "verifier"
"""Where they are; git ignores it."""
_MEASURES = ("secure/verifier", "bench/verifier")


@dataclass(frozen=True)
class KeptRun:
    """One seed's figures on disk. `measured_with` says what they depend on; other figures of the seed do not count."""

    folder: Path
    data: str
    seed: int
    measured_with: str

    def read(self) -> dict[str, Any] | None:
        """The figures, or None where there are none that were measured with the same."""
        if not self._path.is_file():
            return None
        kept = json.loads(self._path.read_text(encoding="utf-8"))
        figures: dict[str, Any] = kept["figures"]
        return figures if kept["measured_with"] == self.measured_with else None

    def write(self, figures: dict[str, Any]) -> None:
        """Keep the figures. A file is there in whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"measured_with": self.measured_with, "figures": figures}), encoding="utf-8")
        new.replace(self._path)

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.data}-{self.seed}.json"


def measured_with(labelled: Labelled) -> str:
    """A SHA-256 of the data, of the code of verifier and measurement, and of torch's version and threads."""
    digest = hashlib.sha256(f"{labelled.digest} {torch.__version__} {torch.get_num_threads()}".encode())
    for path in sorted(path for folder in _MEASURES for path in (_CHECKOUT / folder).rglob("*.py")):
        digest.update(path.relative_to(_CHECKOUT).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
