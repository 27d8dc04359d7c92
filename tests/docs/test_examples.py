"""Every example runs and gives what it says. By default its parties are threads; the slow run starts real processes."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.checkout import ROOT
from tests.docs.conftest import run_in_order

EXAMPLES = ROOT / "examples"
ERROR = 5e-3
CHECKS: dict[str, Callable[[Any], bool]] = {
    "classification": lambda difference: difference < ERROR,
    "encrypted_checkpoint": lambda texts: texts[0] == texts[1],
    "generation": lambda texts: texts[0] == texts[1],
    "own_module": lambda difference: difference < ERROR,
    "semantic_search": lambda document: "stretching" in document,
    "weights": lambda reports: reports["public"].online_bytes < reports["private"].online_bytes,
}
"""Example → whether what its `main` returns is right."""
REAL_MODEL = "semantic_search"


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*CHECKS, "tiny_models"}
    assert [path.name for path in EXAMPLES.glob("*.ipynb")] == ["private_prediction.ipynb"]


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == REAL_MODEL else name for name in CHECKS]
)
def test_an_example_gives_what_it_says(name: str) -> None:
    example = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name)
    assert CHECKS[name](example["main"]())


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("name", CHECKS)
def test_an_example_runs_as_a_script(name: str) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / f"{name}.py"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.usefixtures("launched", "inside")
def test_the_notebook_runs_from_its_first_cell_to_its_last(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads((EXAMPLES / "private_prediction.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert all(cell["cell_type"] in ("markdown", "code") for cell in cells)
    code = [(f"cell {cell['id']}", "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    names: dict[str, Any] = {}
    run_in_order(code, names)
    assert names["difference"] < ERROR
    assert "online" in capsys.readouterr().out
