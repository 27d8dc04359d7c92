"""What code in documents and examples finds in place of real machines and checkpoints."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import secure
from secure.connection import Parties
from tests.checkout import ROOT
from tests.secure.fakes import InProcessClient


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """`secure.launch()` runs the two parties and the dealer as threads of this process."""
    monkeypatch.setattr(secure, "launch", lambda: Parties(InProcessClient()))


@pytest.fixture(autouse=True)
def beside_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a script in the folder of the examples finds: the module beside it."""
    monkeypatch.syspath_prepend(ROOT / "examples")


def tiny_models() -> ModuleType:
    """The examples' module of that name."""
    return importlib.import_module("tiny_models")


def run_in_order(blocks: list[tuple[str, str]], namespace: dict[str, Any]) -> None:
    """Execute pieces of code, each with its place for tracebacks, in one namespace."""
    for where, code in blocks:
        exec(compile(code, where, "exec"), namespace)


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
