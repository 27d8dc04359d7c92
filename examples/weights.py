"""Private or public weights: the same model twice, and what each costs.

    python examples/weights.py                   # a tiny random model
    python examples/weights.py path/to/checkpoint

The input is private in both cases. Public weights suit an open checkpoint: P0 and P1 hold them in the clear.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Literal

import torch
from tiny_models import save_classifier

import secure

CHOICES: tuple[Literal["private", "public"], ...] = ("private", "public")


def main(checkpoint: str | None = None) -> dict[str, secure.Report]:
    """The report of one prediction, by who may see the weights."""
    ids = torch.tensor([[3, 8, 11, 5, 9, 2, 7, 4]])
    reports: dict[str, secure.Report] = {}
    with tempfile.TemporaryDirectory() as folder, secure.launch() as parties:
        path = Path(checkpoint) if checkpoint else save_classifier(Path(folder))
        for weights in CHOICES:
            with secure.PrivateModel.from_pretrained(path, parties=parties, weights=weights) as model:
                model(input_ids=ids)
                reports[weights] = model.report
    for name, report in reports.items():
        print(f"\n{name} weights")
        print(report)
    saved = 1 - reports["public"].online_bytes / reports["private"].online_bytes
    print(f"\nPublic weights save {saved:.0%} of the bytes that P0 and P1 send each other.")
    return reports


if __name__ == "__main__":
    main(*sys.argv[1:2])
