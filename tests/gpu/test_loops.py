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
from secure.protocols.core.aes import CounterMode, counter_mode
from secure.protocols.core.kernels import card
from secure.protocols.core.kernels.card import aes, compiler, harmonics_loops, matrices, planes, steps, words
from secure.protocols.core.prg import SEED_BYTES, Prg
from secure.protocols.masked.gate import Gate
from tests.gpu.gates import CASES, run_gate

pytest.importorskip("triton", reason="Triton is not installed")

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
    monkeypatch.setattr(card, "serve", lambda device: True)
    assert torch.equal(Prg(key, b"one session").words(gate, label, (count,), CPU), due)


def test_without_a_compiler_torch_computes(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("Failed to find C compiler.\nMore.")

    compiler.runs.cache_clear()
    try:
        assert compiler.runs(CPU)  # interpreted
        compiler.runs.cache_clear()
        monkeypatch.setattr(compiler, "launch", fails)
        assert not compiler.runs(CPU)
    finally:
        compiler.runs.cache_clear()
    assert "Triton cannot be used on cpu" in caplog.text
    assert caplog.text.rstrip().endswith("RuntimeError: Failed to find C compiler.")


def by_the_host(cipher: CounterMode, gate: int, label: int, count: int) -> torch.Tensor:
    stream = torch.empty(count, dtype=torch.uint8)
    cipher.fill(gate.to_bytes(8, "big") + label.to_bytes(4, "big"), stream.numpy())
    return stream


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="test_cuda compares them on the card")
@pytest.mark.parametrize(("gate", "label", "shapes"), CASES)
def test_a_gate_is_the_same_interpreted(
    gate: type[Gate[Any]], label: str, shapes: tuple[tuple[int, ...], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    due = run_gate(gate, label, shapes, CPU)
    one_at_a_time = threading.Lock()  # the interpreter is not made for three roles

    def launch(*arguments: Any, **options: Any) -> None:
        with one_at_a_time:
            compiler.launch(*arguments, **options)

    for module in (aes, matrices, planes, steps, harmonics_loops, words):
        monkeypatch.setattr(module, "launch", launch)
    monkeypatch.setattr(card, "serve", lambda device: True)
    # Masks, which have a test of their own, take the interpreter longer than all the rest.
    monkeypatch.setattr(card, "round_keys", lambda key, device: counter_mode(key))
    monkeypatch.setattr(card, "counter_mode", by_the_host)
    monkeypatch.setattr(factor, "multiplies_bytes", lambda device: True)
    assert equality.compared("", [due], [run_gate(gate, label, shapes, CPU)]).equal
