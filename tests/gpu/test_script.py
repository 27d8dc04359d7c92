"""The script for a card, tried without one: what it imports, what it writes, what it returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from bench.gpu import __main__ as script
from bench.gpu import equality, products
from bench.gpu.model import Setting
from tests.checkout import ROOT

# Everything that we install and that an image with PyTorch may lack.
MISSING = [
    "Crypto",
    "cryptography",
    "grpc",
    "google.protobuf",
    "llvmlite",
    "matplotlib",
    "numba",
    "packaging",
    "pydantic",
    "rich",
    "safetensors",
    "tokenizers",
    "transformers",
    "triton",
    "typer",
]
_ALONE = """
import sys
for name in {missing}:
    sys.modules[name] = None
import torch
from bench.gpu import __main__, equality
from secure.protocols.core import aes
from secure.protocols.core.kernels import dispatch
assert dispatch.form_for(torch.device("cpu")) == "plain" and not aes.HAS_PACKAGE
assert aes.__file__ == {aes!r}
name, run = equality.cases()[-1]
assert equality.compare(name, run, torch.device("cpu")).equal
print("done")
"""


def test_nothing_is_imported_that_an_image_with_pytorch_lacks() -> None:
    """Nor is our package installed there: -S leaves out what .pth files add, the checkout's own package included."""
    program = _ALONE.format(missing=MISSING, aes=str(ROOT / "protocols" / "core" / "aes.py"))
    packages = {str(Path(package.__file__).parents[1]) for package in (numpy, torch)}
    found = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(packages)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.returncode) == ("done\n", 0), found.stderr


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that take no time."""
    monkeypatch.setattr(script, "SMALL", Setting(1, 4, hidden=24, heads=3, vocabulary=20))
    monkeypatch.setattr(products, "SMALL_SHAPES", ((40, 16, 8),))
    monkeypatch.setattr(products, "SHAPES", ((40, 16, 8),))
    monkeypatch.setattr(products, "_BUDGET_SECONDS", 0.01)
    one = equality.cases()[1:2]
    monkeypatch.setattr(equality, "cases", lambda: one)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--quick", "--repeats", "1", "--out", str(folder)])
    code = script.main()
    (path,) = folder.glob("gpu-*.json")
    return code, json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.usefixtures("small")
def test_a_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, record = run(monkeypatch, tmp_path)
    assert code == 0 and not record["failed"]
    assert record["kind"] == "gpu" and record["notes"]["all_roles_on_one_device"]
    assert record["command"].startswith("python -m bench.gpu --device cpu") and record["versions"]["torch"]
    assert all(row["exact"] and row["gmac_per_second"] > 0 for row in record["products"])
    assert {row["bits"] for row in record["products"]} == {48, 64}
    model = record["model"]
    assert model["online_bytes"] > 0 and model["dealer_bytes"] > 0 and 0 < model["max_error"] < 5e-3
    assert model["crossing_bytes"] is None, "nothing crosses without a card"
    assert sum(op["online_bytes"] for op in model["ops"].values()) == model["online_bytes"]
    assert record["figures"]["programs bit-identical to the CPU"] == "1 of 1"


@pytest.mark.usefixtures("small")
def test_a_difference_and_a_failure_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(equality, "_same", lambda a, b: False)
    monkeypatch.setattr(products, "stages", fail)
    code, record = run(monkeypatch, tmp_path)
    assert code == 1 and record["failed"] == {"stages": "RuntimeError: out of memory"}
    assert record["figures"]["programs bit-identical to the CPU"] == "0 of 1"
    assert record["model"]["rounds"] > 0, "later steps are run all the same"


def test_without_a_card_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert script.main() == 2
    assert "no CUDA card" in capsys.readouterr().err
