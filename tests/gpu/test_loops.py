"""Loops for a card on a machine without one: they compile, and interpreted they give what the CPU gives."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch

from bench.gpu import equality
from secure.protocols.core import factor
from secure.protocols.core.aes import keystream
from secure.protocols.core.kernels import dispatch
from secure.protocols.core.prg import SEED_BYTES, Prg
from secure.protocols.masked.gate import Gate
from tests.gpu.gates import CASES, run_gate
from tests.sampling import sampled

pytest.importorskip("triton", reason="Triton is not installed")

from secure.protocols.core.kernels.card import compiler

CPU = torch.device("cpu")


def test_every_loop_compiles_for_a_card() -> None:
    """The interpreter takes more than the compiler does. In a process of its own: this one interprets."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.gpu.compile_loops"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) > 15


@pytest.mark.skipif(torch.cuda.is_available(), reason="test_cuda compares them on the card")
@pytest.mark.parametrize("count", [0, 1, 16, 5000])
@pytest.mark.parametrize(("gate", "label"), [(0, 0), (1, 16), (2**40 + 1, 2**31)])
def test_masks_are_the_same_interpreted(gate: int, label: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    key = bytes(range(SEED_BYTES))
    due = Prg(key, b"one session").words(gate, label, (count,), CPU)
    monkeypatch.setattr(dispatch, "form_for", lambda device: "card")
    assert torch.equal(Prg(key, b"one session").words(gate, label, (count,), CPU), due)


def test_without_a_compiler_torch_computes(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fails(*arguments: Any) -> None:
        raise RuntimeError("Failed to find C compiler.\nMore.")

    assert compiler.runs(CPU)  # interpreted
    monkeypatch.setattr(compiler, "start", fails)
    assert not compiler.runs(CPU)
    assert "Triton cannot be used on cpu" in caplog.text
    assert caplog.text.rstrip().endswith("RuntimeError: Failed to find C compiler.")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="test_cuda compares them on the card")
@pytest.mark.parametrize(
    ("gate", "label", "shapes"), sampled(CASES, lambda gate, label, shapes: [(gate, shapes)], pytest.mark.campaign)
)
def test_a_gate_is_the_same_interpreted(
    gate: type[Gate[Any]], label: str, shapes: tuple[tuple[int, ...], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    due = run_gate(gate, label, shapes, CPU)
    one_at_a_time = threading.Lock()  # the interpreter is not made for three roles

    def start(*arguments: Any) -> None:
        with one_at_a_time:
            interpret(*arguments)

    interpret = compiler.start
    monkeypatch.setattr(compiler, "start", start)
    monkeypatch.setattr(dispatch, "form_for", lambda device: "card")
    # Masks, which have a test of their own, take the interpreter longer than all the rest.
    monkeypatch.setitem(keystream.forms, "card", keystream.plain)
    monkeypatch.setattr(factor, "multiplies_bytes", lambda device: True)
    assert equality.compared("", [due], [run_gate(gate, label, shapes, CPU)]).equal
