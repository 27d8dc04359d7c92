"""On a real card: every gate and every program, bit for bit what the CPU computes. Skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from bench.gpu import equality
from bench.gpu.roles import Outcome
from secure.protocols.core import factor, ring
from secure.protocols.core.kernels import dispatch
from secure.protocols.core.prg import SEED_BYTES, Prg
from secure.protocols.masked import small_gates_on_host
from secure.protocols.masked.gate import Gate
from tests.gpu.gates import CASES, run_gate
from tests.protocols.core.test_ring import random_words

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA card")

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
PROGRAMS = equality.cases()


def test_loops_serve_where_triton_is_installed() -> None:
    assert dispatch.form_for(CUDA) == ("card" if find_spec("triton") else "plain")


@pytest.mark.parametrize("count", [1, 15, 16, 17, 100_003, 5_000_000])
def test_masks_are_the_same(count: int) -> None:
    generators = [Prg(bytes(range(SEED_BYTES)), b"one session") for _ in range(2)]
    for gate, label in ((0, 0), (0, 1), (16, 3), (2**31, 16), (2**40 + 1, 2**31)):
        due, found = (
            g.planes(gate, label, (count,), device) for g, device in zip(generators, (CPU, CUDA), strict=True)
        )
        assert found.device == CUDA and torch.equal(found.cpu(), due)


@pytest.mark.parametrize(("gate", "label", "shapes"), CASES)
def test_a_gate_is_the_same(
    gate: type[Gate[Any]], label: str, shapes: tuple[tuple[int, ...], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_gates_on_host, "MOST_ELEMENTS", -1)
    found = run_gate(gate, label, shapes, CUDA)
    assert all(tensor.device == CUDA for tensor in found.results["p0"])
    assert equality.compared("", [run_gate(gate, label, shapes, CPU)], [found]).equal


@pytest.mark.parametrize("on_host", [-1, 30, 1 << 30], ids=["nothing on the host", "the smallest", "all"])
@pytest.mark.parametrize("run", [run for _, run in PROGRAMS], ids=[name for name, _ in PROGRAMS])
def test_a_program_is_the_same(
    run: Callable[[torch.device], list[Outcome]], on_host: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_gates_on_host, "MOST_ELEMENTS", on_host)
    assert equality.compared("", run(CPU), run(CUDA)).equal


@pytest.mark.parametrize("shape", [(1, 1, 1), (16, 9, 3), (17, 130, 40), (64, 768, 96), (3, 2**17 + 11, 8)], ids=str)
@pytest.mark.parametrize("bits", [64, 48, 32])
def test_products_are_exact(shape: tuple[int, int, int], bits: int) -> None:
    m, k, n = shape
    a, b = random_words(m, k), random_words(k, n, seed=1)
    due = ring.low(torch.matmul(a, b), bits)
    for found in (
        factor.prepare([b.to(CUDA)], bits, digits=True).product([a.to(CUDA)], bits),
        ring.matmul.plain(a.to(CUDA), b.to(CUDA), bits),
    ):
        assert torch.equal(ring.low(found.cpu(), bits), due)


def test_the_largest_digits_do_not_overflow() -> None:
    inner, lowest = 2**17 + 11, 0x7F7F7F7F7F7F7F80  # every digit is -128
    x, y = torch.full((20, inner), lowest), torch.full((inner, 8), lowest)
    found = factor.prepare([y.to(CUDA)], 64, digits=True).product([x.to(CUDA)], 64)
    assert torch.equal(found.cpu(), torch.matmul(x, y))
