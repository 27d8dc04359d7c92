"""The lowest release of transformers that pyproject.toml allows serves the newest model family, Qwen3."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.checkout import ROOT

BESIDE = ("tokenizers>=0.21,<0.22", "huggingface-hub>=0.30,<1", "requests", "urllib3", "idna", "charset-normalizer")
"""What that release wants in other versions than ours, or at all."""
PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import torch, transformers
assert transformers.__version__ == sys.argv[2]
from secure.api import PrivateModel
from secure.connection import Parties
from tests.models.decoders import save_decoder, words
from tests.secure.fakes import InProcessClient

folder = Path(sys.argv[1])
reference = save_decoder(folder, "qwen3", seed=2)
ids = words(2, 5)
model = PrivateModel.from_pretrained(folder, parties=Parties(InProcessClient()))
found = model.generate(ids, max_new_tokens=6, eos_token_id=59)
assert torch.equal(found, reference.generate(ids, max_new_tokens=6, do_sample=False, eos_token_id=59, pad_token_id=0))
"""


def lowest() -> str:
    """The lower bound of transformers."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (bounds,) = (found.specifier for found in map(Requirement, lines) if found.name == "transformers")
    (least,) = (bound.version for bound in bounds if bound.operator == ">=")
    return f"{least}.0"


@pytest.mark.slow
def test_the_lowest_transformers_generates_with_qwen3(tmp_path: Path) -> None:
    packages, version = tmp_path / "packages", lowest()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages)]
    done = subprocess.run([*install, f"transformers=={version}", *BESIDE], capture_output=True, text=True, timeout=240)
    if done.returncode != 0:
        pytest.skip(f"pip finds no transformers {version} here")
    (tmp_path / "checkpoint").mkdir()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "checkpoint"), version]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(packages), str(ROOT)))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
